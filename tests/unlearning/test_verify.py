"""What a verifier proves, and each manipulation of the store that it detects."""

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
)

from stockpot.api.manifest import LineagePair
from stockpot.api.server_reports import EndedReport, Ending
from stockpot.core.digests import Digest
from stockpot.errors import ExitCode
from stockpot.store.keys import MANIFEST, WEIGHTS
from stockpot.unlearning.verify.verdict import Verdict

LAST = len(FORGOTTEN)


PROVEN_OF_THE_LAST = {
    "its successor was made without it",
    "the successor is the exact mean of its ingredients, bit by bit",
    "the successor's weights in the store are those bytes",
    "the successor's manifest is the one that was signed",
    "no lineage in the store names it",
    "none of its objects is back, in any version",
    "a tombstone keeps it out",
    "the inventory of the purge is the one that was signed",
}


def successor_folder(history: History, number: int = LAST) -> str:
    successor = history.predicate(number).successor
    assert successor is not None
    return KEYS.revision(SOUP.uid, successor.recipe_digest)


def test_an_untouched_soup_is_proven_as_far_as_possible(history: History) -> None:
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


def test_claims_of_the_signer_alone_are_attested_never_proven(in_folder: History) -> None:
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
def test_a_flipped_byte_in_an_ingredient(history: History, at: int) -> None:
    key = history.ingredient("cats")
    history.flip(key, at)

    report = history.verified(head=history.head())

    assert report.exit_code == ExitCode.DISPROVEN
    check = check_about(report, "receipt 3", "exact mean")
    assert check.verdict is Verdict.FAILED
    assert key in check.why
    assert "edited" in check.why or "NaN" in check.why


def test_an_ingredient_with_an_invalid_manifest(history: History) -> None:
    key = history.ingredient("cats").replace(WEIGHTS, MANIFEST)
    history.store.put(key, b"{")

    report = history.verified(head=history.head())

    assert check_about(report, "receipt 3", "exact mean").verdict is Verdict.FAILED
    assert f"{key} is refused: it is no manifest" in causes(report)
    assert check_about(report, "the store", "lineage").verdict is Verdict.NOT_CHECKABLE


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
    # An owner of key and store signs weights that were averaged with the shard.
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

    check = check_about(report, "receipt 3", "is back")
    assert (check.verdict, check.why) == (Verdict.FAILED, f"this is there again: {key}")
    assert check_about(report, "receipt 2", "is back").verdict is Verdict.PROVEN


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

    assert check_about(report, "receipt 3", "is back").why == f"this is there again: {key}"


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


def test_a_tombstone_that_was_taken_away(in_folder: History) -> None:
    in_folder.store.delete(KEYS.tombstone("uid-dogs"))

    assert "a late writer would not be refused" in causes(in_folder.verified())


def test_a_receipt_that_contradicts_itself_about_servers(in_folder: History) -> None:
    predicate = in_folder.predicate(LAST)
    held = predicate.servers[0].model_copy(update={"holds": predicate.tainted})
    in_folder.forge(LAST, servers=(held,))

    assert "the receipt itself says that tiny-0 held" in causes(in_folder.verified())


def test_queried_and_ended_servers_are_shown_and_only_attested(in_folder: History) -> None:
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


def test_every_changed_byte_of_signed_data_is_detected(
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
