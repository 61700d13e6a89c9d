"""The shortest whole story on a real node, which this test brings up and takes away itself."""

import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from devcluster import cgroups
from tests.e2e.studio import NAMESPACE, SYSTEM, WHY_NOT, Answer, Studio, ask

from stockpot.api.runspec import StoreRef
from stockpot.store.keys import Keys
from stockpot.store.open import open_store

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(bool(WHY_NOT), reason=f"not run: {WHY_NOT}"),
    pytest.mark.timeout(900),
]


def test_shards_are_learnt_served_and_forgotten_on_a_node_that_leaves_nothing(
    tmp_path: Path,
) -> None:
    before = what_there_is()
    studio = Studio(f"e2e-{os.getpid()}", tmp_path / "tiny")
    try:
        studio.up()
        tell(studio)
    finally:
        studio.down()

    assert what_there_is() == before
    assert not studio.places.state.exists()
    name = studio.places.network
    assert not any((root / name).exists() for root in cgroups.hierarchies())


def tell(studio: Studio) -> None:
    studio.apply("first", "one", "two")
    url = studio.url("first")
    studio.until(lambda: ask(url).status == 200, "the base answers")
    with asking(url) as answers:
        both = studio.settled("first", "one", "two")
        uid = studio.soup("first").metadata.uid
        leader = studio.leader().rpartition("_")[0]
        studio.kubectl("delete", "pod", leader, "-n", SYSTEM, "--wait=false")
        took_s = studio.forget("first", "two")
        first = studio.settled("first", "one")
    base = next(answer.weights for answer in answers)

    assert took_s < 60
    assert {answer.status for answer in answers} == {200}
    assert {answer.weights for answer in answers} <= {base, both, first} | in_between(answers, both)
    assert ask(url).weights == first != both
    [receipt] = studio.receipts(uid)
    assert receipt.spec.shard.name == "first-two"
    assert receipt.spec.completeness == "Complete"
    assert keys_with(studio, uid, receipt.spec.shard.uid) <= {
        "tombstone",
        "inventory",
        "keyed digests",
    }


def in_between(answers: list[Answer], both: str) -> set[str]:
    """A revision of the shard that was learnt first may have been served alone for a while."""
    weights = [answer.weights for answer in answers]
    first = weights.index(both) if both in weights else len(weights)
    return set(weights[:first])


class asking:  # noqa: N801 - a context manager, used as a verb
    """A client that asks all the time."""

    def __init__(self, url: str) -> None:
        self._url, self._done = url, threading.Event()
        self._answers: list[Answer] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> list[Answer]:
        self._answers.append(ask(self._url))
        self._thread.start()
        return self._answers

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(1.0):
            self._answers.append(ask(self._url, seed=len(self._answers)))


def keys_with(studio: Studio, soup_uid: str, shard_uid: str) -> set[str]:
    """What kinds of objects in the store still name the shard."""
    with studio.store() as endpoint:
        store = open_store(StoreRef(url="s3://stockpot", endpoint=endpoint))
        stored = {info.key for info in store.list(f"{NAMESPACE}/")}
    keys = Keys(NAMESPACE)
    kinds: dict[str, Callable[[str], bool]] = {
        "tombstone": lambda key: key == keys.tombstone(shard_uid),
        "inventory": lambda key: key == keys.inventory(shard_uid),
        "keyed digests": lambda key: key == keys.unlearned_list(soup_uid, shard_uid),
    }
    return {
        next((kind for kind, is_one in kinds.items() if is_one(key)), key)
        for key in stored
        if shard_uid in key
    }


def what_there_is() -> dict[str, list[str]]:
    """What a cluster would show up in, on this machine: other clusters' own may be in it, too."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    nft = ["nft", "list", "tables"]
    names = ["ip", "netns", "list"]
    return {
        "mounts": sorted(line.split()[4] for line in mounts if f"e2e-{os.getpid()}" in line),
        "processes": [
            command
            for pid in Path("/proc").glob("[0-9]*")
            if f"stockpot-e2e-{os.getpid()}" in (command := _command(pid))
        ],
        "tables": subprocess.run(nft, capture_output=True, text=True, check=True).stdout.split(
            "\n"
        ),
        "networks": [
            line
            for line in subprocess.run(
                names, capture_output=True, text=True, check=True
            ).stdout.split("\n")
            if f"e2e-{os.getpid()}" in line
        ],
    }


def _command(pid: Path) -> str:
    try:
        return (pid / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
