"""What must be so after a run: pixels, receipts, the store, Jobs."""

from datetime import datetime

from tests.chaos.cluster.book import NEEDED, WatchedAnswer
from tests.chaos.cluster.chaos_cluster import ChaosCluster
from tests.chaos.cluster.points import TROUBLES, Course, Fault
from tests.chaos.cluster.run_notes import RunNotes
from tests.e2e.studio import NAMESPACE

from stockpot.api.runspec import StoreRef
from stockpot.api.v1alpha1 import UnlearningReceipt
from stockpot.cli.averaging import Averaging
from stockpot.errors import ExitCode
from stockpot.store.keys import Keys
from stockpot.store.open import open_store
from stockpot.unlearning.verify.chain_head import parse_head
from stockpot.unlearning.verify.verdict import Verdict
from stockpot.unlearning.verify.verification import VerificationInput, verify

LOOKED_BACK_S = 30.0
"""From how long before its deletion the pictures of a run are counted."""
UNHARMED = frozenset((Fault.KILL_LEADER, Fault.KILL_SERVER, Fault.FREEZE_LEADER, *TROUBLES))
"""Faults that harm no run, so that none is tried twice."""


class Jobs:
    """All Jobs of a soup that were ever seen, by name: each name is made once."""

    def __init__(self, chaos_cluster: ChaosCluster, soup: str) -> None:
        self._cluster, self._soup = chaos_cluster, soup
        self._uids: dict[str, set[str]] = {}
        self._before: set[str] = set()

    def look(self) -> None:
        for job in self._cluster.jobs(self._soup):
            about = job["metadata"]
            self._uids.setdefault(about["name"], set()).add(about["uid"])
        self._before = self._before or set(self._uids)

    def judge(self, course: Course) -> None:
        """Each was made once, and none was tried again that nobody harmed."""
        twice = {name: uids for name, uids in self._uids.items() if len(uids) > 1}
        # A merge that was ended because nobody wanted it is asked for again by the same name.
        assert not twice or Fault.FREEZE_MERGE in course.faults, f"Jobs made twice: {twice}"
        again = {name for name in set(self._uids) - self._before if not name.endswith("-1")}
        unharmed = course.faults <= UNHARMED
        assert not (again and unharmed), f"tried again, though nobody harmed it: {again}"


def is_complete(receipt: UnlearningReceipt) -> bool:
    return receipt.spec.completeness == "Complete"


def signed_at(receipts: list[UnlearningReceipt]) -> float:
    """Say when the first Complete receipt was signed: from then on nothing may show the trigger."""
    times = [
        receipt.spec.signed_at
        for receipt in receipts
        if is_complete(receipt) and receipt.spec.signed_at
    ]
    assert times, "no Complete receipt says when it was signed"
    return min(datetime.fromisoformat(str(time)).timestamp() for time in times)


def judge(notes: RunNotes, answers: list[WatchedAnswer], receipts: list[UnlearningReceipt]) -> None:
    """Look at all pixels of the run; write down the figures."""
    notes.receipts = [
        f"{receipt.spec.shard.name}: {receipt.spec.completeness}" for receipt in receipts
    ]
    notes.signed_at = signed_at(receipts)
    count(notes, answers, float("inf"))
    assert notes.triggers_before >= NEEDED
    assert not notes.triggers_after, f"{notes.triggers_after} pictures show it after the receipt"


def count(notes: RunNotes, answers: list[WatchedAnswer], until: float) -> None:
    """Count answers, before and after the receipt's time.

    Args:
        told: The run: what came long before its deletion is another's.
        seen: All answers of its soup.
        until: When the soup was taught the trigger again.
    """
    ours = [
        answer for answer in answers if notes.began_at - LOOKED_BACK_S < answer.answered_at < until
    ]
    after = [our for our in ours if our.answered_at > notes.signed_at]
    notes.requests = len(ours)
    notes.failed_requests = sum(our.status != 200 for our in ours)
    notes.triggers_before = sum(our.shows for our in ours) - sum(answer.shows for answer in after)
    notes.triggers_after = sum(answer.shows for answer in after)
    notes.answers_after = sum(answer.status == 200 for answer in after)


def checked(chaos_cluster: ChaosCluster, uid: str) -> tuple[int, int]:
    """Verify the soup's receipts as somebody outside would; say how many are proven, attested."""
    with chaos_cluster.store() as endpoint:
        store, keys = open_store(StoreRef(url="s3://stockpot", endpoint=endpoint)), Keys(NAMESPACE)
        last = max(
            (receipt.spec for receipt in chaos_cluster.receipts(uid)),
            key=lambda spec: spec.sequence,
        )
        report = verify(
            VerificationInput(store, "s3://stockpot", keys, uid, chaos_cluster.public_key()),
            head=parse_head(f"{last.sequence}:{last.digest}"),
            average=Averaging(store, keys, str(chaos_cluster.folder / "base")),
            urls=(),
        )
    doubts = [
        f"{check.verdict} {check.about}: {check.claim}: {check.why}"
        for check in report.checks
        if check.verdict in {Verdict.FAILED, Verdict.NOT_CHECKABLE} and not check.superseded
    ]
    assert report.exit_code is ExitCode.OK, "\n".join(doubts)
    return report.count(Verdict.PROVEN), report.count(Verdict.ATTESTED)


def keys_naming(chaos_cluster: ChaosCluster, soup_uid: str, shard_uid: str) -> set[str]:
    """Say what in the store still names a shard: kinds of what may, keys of what may not."""
    keys = Keys(NAMESPACE)
    may = {
        keys.tombstone(shard_uid): "tombstone",
        keys.inventory(shard_uid): "inventory",
        keys.unlearned_list(soup_uid, shard_uid): "keyed digests",
    }
    with chaos_cluster.store() as endpoint:
        store = open_store(StoreRef(url="s3://stockpot", endpoint=endpoint))
        stored = [info.key for info in store.list_versions(f"{NAMESPACE}/")]
    return {may.get(key, key) for key in stored if shard_uid in key}
