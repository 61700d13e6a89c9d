"""What a verifier must prove, and each way in which it must find that it was lied to."""

import base64
import json
import random
from pathlib import Path

import pytest
from tests.unlearning.history import (
    FORGOTTEN,
    KEYS,
    SOUP,
    History,
    causes,
    check_about,
    checks_with,
    shard_ref,
)

from stockpot.api.manifest import LineagePair
from stockpot.api.runspec import EndedReport, Ending
from stockpot.core.digests import Digest
from stockpot.errors import ExitCode, Refused
from stockpot.store.keys import MANIFEST, WEIGHTS
from stockpot.unlearning.envelope import key_name, seal
from stockpot.unlearning.keys import keygen, load_private_key
from stockpot.unlearning.rotate import rotate
from stockpot.unlearning.rotation import state_rotation
from stockpot.unlearning.verify.chain_head import parse_head
from stockpot.unlearning.verify.soups import find_soup
from stockpot.unlearning.verify.verdict import Verdict

LAST = len(FORGOTTEN)
PROVEN_OF_THE_LAST = {
    "its successor was made without it",
    "the successor is the exact mean of its ingredients, bit by bit",
    "the successor's weights in the store are those bytes",
    "the successor's manifest is the one that was signed",
    "no lineage in the store names it",
    "nothing lies where it lay, in any version",
    "a tombstone keeps it out",
    "the inventory of the purge is the one that was signed",
}


def successor_folder(history: History, number: int = LAST) -> str:
    successor = history.predicate(number).successor
    assert successor is not None
    return KEYS.revision(SOUP.uid, successor.recipe_digest)


def test_a_soup_that_tells_the_truth_is_proven_as_far_as_anybody_can(history: History) -> None:
    report = history.verified(head=history.head())

    assert causes(report) == ""
    assert report.exit_code == ExitCode.OK
    assert (report.receipts, report.head) == (LAST, history.head())
    proven = {
        check.claim for check in checks_with(report, Verdict.PROVEN) if "receipt 3" in check.about
    }
    assert proven == PROVEN_OF_THE_LAST
    chain = {check.verdict for check in report.checks if check.about == "the chain"}
    assert chain == {Verdict.PROVEN}
    assert check_about(report, "the store", "lineage").verdict is Verdict.PROVEN


def test_what_only_the_signer_saw_is_attested_and_never_proven(in_folder: History) -> None:
    report = in_folder.verified(head=in_folder.head())

    attested = {check.claim for check in checks_with(report, Verdict.ATTESTED)}
    assert attested == {
        "each ingredient was trained from its own shard alone",
        "everything of it was removed",
        "it names what may be left elsewhere",
        "it was done when it says",
        "no server held anything of it after the purge",
        "the receipt says that nothing is missing",
    }


@pytest.mark.parametrize("at", [-1, -4000])
def test_one_flipped_byte_in_an_ingredient(history: History, at: int) -> None:
    key = history.ingredient("cats")
    history.flip(key, at)

    report = history.verified(head=history.head())

    assert report.exit_code == ExitCode.DISPROVEN
    check = check_about(report, "receipt 3", "exact mean")
    assert check.verdict is Verdict.FAILED
    assert key in check.why
    assert "edited" in check.why or "NaN" in check.why


def test_an_ingredient_whose_manifest_is_no_manifest(history: History) -> None:
    key = history.ingredient("cats").replace(WEIGHTS, MANIFEST)
    history.store.put(key, b"{")

    report = history.verified(head=history.head())

    assert check_about(report, "receipt 3", "exact mean").verdict is Verdict.FAILED
    assert f"{key} is refused: it is no manifest" in causes(report)
    assert check_about(report, "the store", "lineage").verdict is Verdict.NOT_CHECKABLE


def test_a_receipt_missing_in_the_middle(history: History) -> None:
    head = history.head()
    history.store.delete(KEYS.receipt(SOUP.uid, 2))

    report = history.verified(head=head)

    assert f"{KEYS.receipt(SOUP.uid, 2)}: it is missing, and others come after it" in causes(report)
    unreceipted = check_about(report, "the chain", "every tombstone")
    assert unreceipted.verdict is Verdict.NOT_CHECKABLE
    assert shard_ref("bees").uid in unreceipted.why


def test_the_last_receipt_missing_shows_against_the_head(history: History) -> None:
    head = history.head()
    history.store.delete(KEYS.receipt(SOUP.uid, LAST))

    report = history.verified(head=head)

    assert "it was cut off or rolled back: the head is number 3, and it ends with number 2" in (
        causes(report)
    )


def test_the_last_receipt_missing_is_never_taken_for_proven_without_the_head(
    in_folder: History,
) -> None:
    in_folder.store.delete(KEYS.receipt(SOUP.uid, LAST))

    report = in_folder.verified()

    assert report.exit_code == ExitCode.NOT_PROVEN
    assert (
        "neither --head nor --anchor was given" in check_about(report, "the chain", "complete").why
    )
    assert "its receipt was deleted" in check_about(report, "the chain", "every tombstone").why


def test_a_forked_chain(history: History) -> None:
    head = history.head()
    history.forge(LAST, signed_at="2026-11-23T00:00:00Z", stored_at=None)

    report = history.verified(head=head)

    assert check_about(report, "the chain", "signed").verdict is Verdict.PROVEN, (
        "who forks has the key"
    )
    assert "it was forked or edited: number 3 is sha256:" in causes(report)
    assert head.removeprefix("3:") in causes(report)


def test_a_fork_further_up_breaks_the_links_below_it(in_folder: History) -> None:
    in_folder.forge(2, versions={"stockpot": "another"})

    report = in_folder.verified()

    assert f"{KEYS.receipt(SOUP.uid, 3)}: it follows sha256:" in causes(report)


def test_a_chain_that_was_rolled_back_and_grew_again(history: History) -> None:
    head = history.receipts()[-1].digest
    history.forge(2, versions={"stockpot": "another"})
    history.store.delete(KEYS.receipt(SOUP.uid, 3))

    report = history.verified(head=head)

    assert f"no receipt is {head}: it was cut off, rolled back or forked" in causes(report)


def test_a_wrong_key(history: History, tmp_path: Path) -> None:
    other = keygen(tmp_path / "other.pem")

    report = history.verified(head=history.head(), key=other)

    assert report.exit_code == ExitCode.DISPROVEN
    failed = checks_with(report, Verdict.FAILED)
    assert len(failed) == LAST
    assert all("it was signed by another key" in check.why for check in failed)
    assert not [check for check in report.checks if check.about.startswith("receipt")]


def test_a_chain_that_was_handed_over_is_proven_from_the_first_key_and_from_the_last(
    in_folder: History, tmp_path: Path
) -> None:
    public = keygen(tmp_path / "new.pem")
    old, new = load_private_key(in_folder.key), load_private_key(tmp_path / "new.pem")
    chain = rotate(in_folder.store, KEYS, SOUP, old, new)

    for key in (in_folder.public, public):
        report = in_folder.verified(head=f"{chain.last}:{chain.head}", key=key)

        assert causes(report) == ""
        assert report.exit_code == ExitCode.OK
        names = tuple(key_name(private.public_key()) for private in (old, new))
        assert (report.receipts, report.keys) == (LAST, names)
        handed = check_about(report, "the chain", "both the old key and the new one have signed")
        assert (handed.verdict, handed.why) == (
            Verdict.PROVEN,
            f"number 4: {names[0]} → {names[1]}",
        )


def test_a_chain_that_was_forked_by_a_rotation(in_folder: History, tmp_path: Path) -> None:
    # Whoever stole the old key hands over to one of their own, in the place of the true one.
    private = [load_private_key(in_folder.key)]
    for name in ("new.pem", "theirs.pem"):
        keygen(tmp_path / name)
        private.append(load_private_key(tmp_path / name))
    chain = rotate(in_folder.store, KEYS, SOUP, private[0], private[1])
    in_folder.store.delete(KEYS.receipt(SOUP.uid, chain.last))
    forked = rotate(in_folder.store, KEYS, SOUP, private[0], private[2])

    report = in_folder.verified(head=f"{chain.last}:{chain.head}")

    assert f"it was forked or edited: number 4 is {forked.head}, not {chain.head}" in causes(report)


def test_a_rotation_with_a_wrong_second_signature(in_folder: History, tmp_path: Path) -> None:
    private = [load_private_key(in_folder.key)]
    for name in ("new.pem", "other.pem"):
        keygen(tmp_path / name)
        private.append(load_private_key(tmp_path / name))
    last = in_folder.receipts()[-1].digest
    public = (private[0].public_key(), private[1].public_key())
    statement = state_rotation(SOUP, *public, LAST + 1, last).canonical
    in_folder.store.put(KEYS.receipt(SOUP.uid, LAST + 1), seal(statement, private[0], private[2]))

    report = in_folder.verified()

    assert "00000004.dsse.json: the new key that it names has not signed it" in causes(report)


def test_a_receipt_that_names_the_shard_in_its_own_successor(in_folder: History) -> None:
    successor = in_folder.predicate(LAST).successor
    assert successor is not None
    inside = LineagePair(shard="uid-dogs", training_key=successor.lineage[0].training_key)
    lineage = (*successor.lineage, inside)
    in_folder.forge(LAST, successor=successor.model_copy(update={"lineage": lineage}))

    report = in_folder.verified()

    assert "the receipt itself names it in the successor's lineage" in causes(report)


def test_a_successor_whose_manifest_has_the_shard_inside(history: History) -> None:
    manifest = successor_folder(history) + MANIFEST
    history.edit(manifest, b"uid-eels", b"uid-dogs")

    report = history.verified()

    without = check_about(report, "receipt 3", "without it")
    assert without.verdict is Verdict.FAILED
    assert without.why == f"{manifest} says that it was made with shard uid-dogs"
    assert "these were made with it" in check_about(report, "receipt 3", "no lineage").why


def test_a_successor_whose_weights_have_the_shard_inside(
    shared_history: History, history: History
) -> None:
    # Who has the key and the store signs weights that were averaged with the shard.
    honest, tainted = (
        shared_history.predicate(LAST).successor,
        shared_history.predicate(LAST - 1).successor,
    )
    assert honest is not None
    assert tainted is not None
    folder = successor_folder(history)
    history.edit(folder + MANIFEST, honest.weights_digest.encode(), tainted.weights_digest.encode())
    lying = honest.model_copy(update={"weights_digest": tainted.weights_digest})
    history.forge(LAST, successor=lying, successor_manifest=None)

    report = history.verified()

    mean = check_about(report, "receipt 3", "exact mean")
    assert mean.verdict is Verdict.FAILED
    assert f"their mean is {honest.weights_digest}" in mean.why


def test_weights_in_the_store_that_are_not_the_successor(history: History) -> None:
    key = successor_folder(history) + WEIGHTS
    history.flip(key, -1)

    report = history.verified()

    assert check_about(report, "receipt 3", "exact mean").verdict is Verdict.PROVEN
    assert f"{key} is sha256:" in check_about(report, "receipt 3", "weights in the store").why


def test_an_ingredient_that_came_back(history: History) -> None:
    key = f"{KEYS.ingredient('uid-dogs', Digest('sha256:' + 'b' * 64))}{WEIGHTS}"
    history.store.put(key, b"the same weights as before")

    report = history.verified()

    check = check_about(report, "receipt 3", "nothing lies")
    assert (check.verdict, check.why) == (Verdict.FAILED, f"this is there again: {key}")
    assert check_about(report, "receipt 2", "nothing lies").verdict is Verdict.PROVEN


def test_an_ingredient_that_lies_elsewhere_under_its_lineage(in_folder: History) -> None:
    cats = in_folder.ingredient("cats")
    manifest = cats.replace(WEIGHTS, MANIFEST)
    in_folder.store.put(f"ml/mixes/x/{MANIFEST}", in_folder.store.get(manifest) or b"")
    in_folder.edit(f"ml/mixes/x/{MANIFEST}", b"uid-cats", b"uid-bees")

    report = in_folder.verified()

    assert (
        "these were made with it: ml/mixes/x/" in check_about(report, "receipt 2", "no lineage").why
    )


def test_a_tainted_revision_that_came_back_without_its_manifest(in_folder: History) -> None:
    tainted = in_folder.predicate(LAST).tainted
    key = KEYS.revision(SOUP.uid, tainted[0]) + WEIGHTS
    in_folder.store.put(key, b"the mean with dogs")

    report = in_folder.verified()

    assert check_about(report, "receipt 3", "nothing lies").why == f"this is there again: {key}"


def test_a_time_that_was_edited_in_a_receipt(history: History) -> None:
    key = KEYS.receipt(SOUP.uid, LAST)
    envelope = json.loads(history.store.get(key) or b"")
    payload = json.loads(base64.b64decode(envelope["payload"]))
    payload["predicate"]["requestedAt"] = "2026-11-22T11:00:00Z"
    envelope["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()
    history.store.put(key, json.dumps(envelope).encode())

    report = history.verified()

    assert causes(report) == (
        "the chain: every receipt is signed with the key, and unedited since: "
        f"{key}: its signature does not fit: it was edited"
    )


def test_a_time_that_was_edited_in_the_tombstone(history: History) -> None:
    at = history.predicate(LAST).tombstoned_at
    assert at is not None
    history.edit(KEYS.tombstone("uid-dogs"), at.encode(), b"2026-01-01T00:00:00Z")

    report = history.verified()

    assert f"it says 2026-01-01T00:00:00Z, and {at} was signed" in causes(report)


def test_a_time_that_was_edited_in_the_inventory(history: History) -> None:
    key = KEYS.inventory("uid-dogs")
    inventory = json.loads(history.store.get(key) or b"")
    at = inventory["sweeps"][0]["at"]
    history.edit(key, at.encode(), b"2026-01-01T00:00:00Z")

    report = history.verified()

    assert f"{key} was edited" in causes(report)


@pytest.mark.parametrize(
    ("field", "at", "why"),
    [
        ("requested_at", "2099-01-01T00:00:00Z", "which is before it was requested"),
        ("signed_at", "2020-01-01T00:00:00Z", "signed at 2020-01-01T00:00:00Z"),
        ("tombstoned_at", "2020-01-01T00:00:00Z", "was edited"),
        ("stored_at", "2020-01-01T00:00:00Z", "stored at 2020-01-01T00:00:00Z"),
        ("requested_at", "yesterday", "Invalid isoformat string: 'yesterday'"),
    ],
)
def test_times_that_contradict_each_other_though_they_are_signed(
    in_folder: History, field: str, at: str, why: str
) -> None:
    in_folder.forge(LAST, **{field: at})

    assert why in causes(in_folder.verified())


def test_a_receipt_that_was_copied_from_another_soup(in_folder: History) -> None:
    in_folder.forge(LAST, soup=SOUP.model_copy(update={"uid": "soup-2"}))

    assert "it is a receipt of another soup: soup-2" in causes(in_folder.verified())


def test_a_tombstone_that_was_taken_away(in_folder: History) -> None:
    in_folder.store.delete(KEYS.tombstone("uid-dogs"))

    assert "a late writer would not be refused" in causes(in_folder.verified())


def test_a_receipt_that_contradicts_itself_about_servers(in_folder: History) -> None:
    predicate = in_folder.predicate(LAST)
    held = predicate.servers[0].model_copy(update={"holds": predicate.tainted})
    in_folder.forge(LAST, servers=(held,))

    assert "the receipt itself says that tiny-0 held" in causes(in_folder.verified())


def test_who_was_asked_and_who_had_ended_is_shown_and_only_attested(in_folder: History) -> None:
    held = in_folder.predicate(LAST).servers[0].model_copy(update={"nonce": "0123456789abcdef"})
    gone = EndedReport(server="tiny-1", uid="pod-1", node="node-b", how=Ending.KUBELET)
    in_folder.forge(LAST, servers=(held,), ended=(gone,))

    check = check_about(in_folder.verified(), f"receipt {LAST}", "no server held anything")

    assert (check.verdict, check.why) == (
        Verdict.ATTESTED,
        "the signer asked tiny-0 (nonce 01234567…); tiny-1 has ended (its kubelet confirmed it)",
    )


def test_a_receipt_whose_server_held_something_made_with_the_shard(in_folder: History) -> None:
    held = (LineagePair(shard="uid-dogs", training_key="sha256:" + "0" * 64),)
    held = in_folder.predicate(LAST).servers[0].model_copy(update={"beside": held})
    in_folder.forge(LAST, servers=(held,))

    assert "the receipt itself says that tiny-0 held what was made with it" in causes(
        in_folder.verified()
    )


def test_figures_that_are_not_the_inventorys(in_folder: History) -> None:
    purge = in_folder.predicate(LAST).purge
    in_folder.forge(LAST, purge=purge.model_copy(update={"objects": purge.objects + 1}))

    assert "figures are not those of the inventory" in causes(in_folder.verified())


def test_no_byte_of_what_is_signed_can_be_changed_unseen(
    shared_history: History, tmp_path: Path
) -> None:
    dice = random.Random(0)
    keys = [
        *(KEYS.receipt(SOUP.uid, number) for number in range(1, LAST + 1)),
        *(KEYS.inventory(f"uid-{name}") for name in FORGOTTEN),
        *(KEYS.tombstone(f"uid-{name}") for name in FORGOTTEN),
        *(shared_history.ingredient(name) for name in ("cats", "eels")),
        successor_folder(shared_history) + WEIGHTS,
        successor_folder(shared_history) + MANIFEST,
    ]
    head, root = shared_history.head(), tmp_path / "store"
    root.mkdir()
    copy = shared_history.copied_to(shared_history.ref.model_copy(update={"url": root.as_uri()}))
    for key in keys * 2:
        size_bytes = len(copy.store.get(key) or b"")
        at = dice.randrange(size_bytes)
        copy.flip(key, at)

        report = copy.verified(head=head)

        assert report.exit_code != ExitCode.OK, f"byte {at} of {key}"
        copy.flip(key, at)
    assert copy.verified(head=head).exit_code == ExitCode.OK


def test_a_head_must_be_one() -> None:
    for text in ("sha256:12", "0:sha256:" + "a" * 64, "x:sha256:" + "a" * 64, ""):
        with pytest.raises(Refused) as caught:
            parse_head(text)
        assert caught.value.exit_code == ExitCode.USAGE


def test_a_soup_is_found_by_name_and_by_uid(in_folder: History) -> None:
    for named in ("tiny", "soup/tiny", "soup-1", "soup/soup-1"):
        assert find_soup(in_folder.store, KEYS, named) == "soup-1"


def test_a_soup_that_has_no_receipts_is_told_from_those_that_have(in_folder: History) -> None:
    with pytest.raises(Refused) as caught:
        find_soup(in_folder.store, KEYS, "soup/broth")

    assert caught.value.message.startswith("no soup broth has receipts in namespace ml")
    assert "tiny (soup-1)" in caught.value.help


def test_two_soups_of_one_name_are_not_mixed_up(in_folder: History) -> None:
    data = in_folder.store.get(KEYS.receipt(SOUP.uid, 1)) or b""
    in_folder.store.put(KEYS.receipt("soup-9", 1), data)

    with pytest.raises(Refused) as caught:
        find_soup(in_folder.store, KEYS, "tiny")

    assert "soup-1, soup-9" in caught.value.message
