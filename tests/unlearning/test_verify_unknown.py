"""A verifier reports what it cannot check as NotCheckable, never as Proven or Failed."""

import json
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from tests.contract.conftest import Server
from tests.unlearning.blind_store import refusing_versions
from tests.unlearning.history import (
    KEYS,
    SOUP,
    History,
    a_history,
    causes,
    check_about,
    checks_with,
)

from stockpot.api.namespace_ref import NamespaceRef
from stockpot.api.runspec import StoreRef
from stockpot.core.digests import Digest
from stockpot.errors import ExitCode
from stockpot.store.keys import MANIFEST, WEIGHTS
from stockpot.store.namespace_mark import claim_prefix
from stockpot.unlearning.envelope import seal
from stockpot.unlearning.keys import load_private_key
from stockpot.unlearning.statement import state
from stockpot.unlearning.tombstone import Tombstone, write_tombstone
from stockpot.unlearning.verify.verdict import Check, Report, Verdict


def only_unknown(report: Report) -> Check:
    """The only check that is not checkable, except superseded ones."""
    assert causes(report) == ""
    [check] = [
        check for check in checks_with(report, Verdict.NOT_CHECKABLE) if not check.superseded
    ]
    assert report.exit_code == ExitCode.NOT_PROVEN
    return check


def test_without_a_head_completeness_is_unknown(history: History) -> None:
    check = only_unknown(history.verified())

    assert (check.about, check.claim) == ("the chain", "it is complete")
    assert "cut off" in check.why


def test_a_successor_whose_ingredients_were_removed_later_is_superseded(history: History) -> None:
    report = history.verified(head=history.head())

    superseded = {check.about: check.why for check in report.checks if check.superseded}
    assert superseded == {
        "receipt 1, shard ants": "superseded: an ingredient of it was removed by receipt 2",
        "receipt 2, shard bees": "superseded: an ingredient of it was removed by receipt 3",
    }
    assert {check.verdict for check in report.checks if check.superseded} == {Verdict.NOT_CHECKABLE}
    assert report.exit_code == ExitCode.OK, "nobody can do anything about it, nor needs to"


def test_a_head_that_is_not_the_last_says_how_many_came_after(in_folder: History) -> None:
    check = check_about(in_folder.verified(head=in_folder.head(1)), "the chain", "complete")

    assert check.verdict is Verdict.PROVEN
    assert check.why == "the head is number 1; 2 came after it"


def test_an_unlearning_in_progress_is_no_failure(in_folder: History) -> None:
    mark = Tombstone(shard="uid-eels", soup=SOUP.uid, at="2026-11-23T00:00:00Z")
    write_tombstone(in_folder.store, KEYS, mark)
    for info in [*in_folder.store.list(KEYS.shard("uid-eels"))]:
        in_folder.store.delete(info.key)

    report = in_folder.verified(head=in_folder.head())

    assert causes(report) == ""
    assert report.exit_code == ExitCode.NOT_PROVEN
    tombstones = check_about(report, "the chain", "every tombstone")
    assert "shard uid-eels, forgotten at 2026-11-23T00:00:00Z, has none" in tombstones.why
    mean = check_about(report, "receipt 3", "exact mean")
    assert mean.why == "an ingredient of it is being forgotten"


def test_an_ingredient_that_is_gone_cannot_be_averaged(in_folder: History) -> None:
    key = in_folder.ingredient("cats")
    in_folder.store.delete(key)

    check = only_unknown(in_folder.verified(head=in_folder.head()))

    assert (check.claim[:13], check.why) == ("the successor", f"{key} is not in the store any more")


def test_a_manifest_without_its_recipes_parts(in_folder: History) -> None:
    # Merges of the first release wrote manifests without the parts.
    strip_parts(in_folder)

    report = in_folder.verified(head=in_folder.head())

    for claim in ("without it", "exact mean"):
        check = check_about(report, "receipt 3", claim)
        assert check.verdict is Verdict.NOT_CHECKABLE
        assert "and their weights, cannot be found" in check.why


def test_a_revision_that_was_collected_leaves_its_recipe_unknown(in_folder: History) -> None:
    successor = in_folder.predicate(3).successor
    assert successor is not None
    for info in [*in_folder.store.list(KEYS.revision(SOUP.uid, successor.recipe_digest))]:
        in_folder.store.delete(info.key)

    report = in_folder.verified(head=in_folder.head())

    assert causes(report) == ""
    assert check_about(report, "receipt 3", "without it").verdict is Verdict.NOT_CHECKABLE


def test_a_rewritten_manifest_is_distinguished_from_the_signed_one(
    in_folder: History,
) -> None:
    folder = successor_folder(in_folder)
    in_folder.edit(folder + MANIFEST, b'"seconds": "', b'"seconds": "1')

    check = only_unknown(in_folder.verified(head=in_folder.head()))

    assert "it was written again since" in check.why


def test_objects_under_no_manifest_are_not_checkable(history: History) -> None:
    history.store.put("ml/soups/soup-1/fitted/router.bin", b"who knows")

    check = only_unknown(history.verified(head=history.head()))

    assert check.about == "the store"
    assert check.why == "these are under no manifest: ml/soups/soup-1/fitted/router.bin"


def test_the_mark_of_a_namespace_needs_no_manifest(history: History) -> None:
    claim_prefix(history.store, KEYS, NamespaceRef(uid="8c1f"))

    report = history.verified(head=history.head())

    assert check_about(report, "the store", "everything in it has a lineage").verdict is (
        Verdict.PROVEN
    )


def test_what_a_custom_image_trained_from_is_unknown(in_folder: History) -> None:
    folder = in_folder.ingredient("eels").removesuffix(WEIGHTS)
    in_folder.edit(folder + MANIFEST, b'"madeBy": "stockpot', b'"madeBy": "acme-trainer')

    check = only_unknown(in_folder.verified(head=in_folder.head()))

    assert check.claim == "each ingredient was trained from its own shard alone"
    assert f"{folder} was made by acme-trainer" in check.why


def test_an_incomplete_receipt_says_so(in_folder: History) -> None:
    in_folder.forge(3, completeness="Incomplete")

    check = only_unknown(in_folder.verified(head=in_folder.head()))

    assert "it is Incomplete" in check.why


def test_an_incomplete_receipt_is_superseded_by_the_next_of_its_shard(in_folder: History) -> None:
    # A deadline passed, and the missing confirmation came later.
    last = in_folder.receipts()[-1]
    in_folder.forge(3, completeness="Incomplete", missing=("server tiny-1",))
    again = last.statement.predicate.model_copy(
        update={"sequence": 4, "previous": in_folder.receipts()[-1].digest}
    )
    data = seal(state(again).canonical, load_private_key(in_folder.key))
    in_folder.store.put(KEYS.receipt(SOUP.uid, 4), data)

    report = in_folder.verified(head=in_folder.head(4))

    assert (causes(report), report.exit_code) == ("", ExitCode.OK)
    check = check_about(report, "receipt 3", "nothing is missing")
    assert (check.verdict, check.superseded) == (Verdict.NOT_CHECKABLE, True)
    assert check.why == "it is Incomplete: not confirmed: server tiny-1"
    assert check_about(report, "receipt 4", "nothing is missing").verdict is Verdict.ATTESTED


def test_a_receipt_that_names_no_server(in_folder: History) -> None:
    in_folder.forge(3, servers=())

    check = only_unknown(in_folder.verified(head=in_folder.head()))

    assert check.why == "the receipt names no server that was queried"


def test_an_inventory_that_a_later_purge_added_to(in_folder: History) -> None:
    key = KEYS.inventory("uid-dogs")
    inventory = json.loads(in_folder.store.get(key) or b"")
    inventory["sweeps"].append({"at": "2099-01-01T00:00:00Z", "found": 0})
    data = json.dumps(inventory, sort_keys=True, separators=(",", ":")).encode()
    in_folder.store.put(key, data)

    unknown = only_unknown(in_folder.verified(head=in_folder.head()))

    assert "a later purge added to it" in unknown.why


def test_the_base_alone_needs_the_base(shared_history: History, tmp_path: Path) -> None:
    history = down_to_the_base(shared_history, tmp_path)

    without = history.verified(head=history.head(5))
    wrong = history.verified(head=history.head(5), base=tmp_path)
    given = history.verified(head=history.head(5), base=history.base)

    assert "which is not at hand: give it with --base" in only_unknown(without).why
    assert "no model_index.json" in only_unknown(wrong).why
    assert check_about(given, "receipt 5", "exact mean").verdict is Verdict.PROVEN
    assert given.exit_code == ExitCode.OK


def test_receipts_without_later_fields_stay_readable(in_folder: History) -> None:
    in_folder.forge(3, tombstoned_at=None, stored_at=None, successor_manifest=None, tainted=())

    report = in_folder.verified(head=in_folder.head())

    assert report.exit_code == ExitCode.OK


def test_an_unreachable_server(in_folder: History) -> None:
    report = in_folder.verified(head=in_folder.head(), urls=("http://127.0.0.1:9",))

    drawn, chain = (o for o in checks_with(report, Verdict.NOT_CHECKABLE) if not o.superseded)
    assert drawn.about == chain.about == "the server at http://127.0.0.1:9"
    assert "it gives no answer that names a revision" in drawn.why
    assert "it gives no answer with a head of the chain" in chain.why


def test_the_verbs_leave_nothing_in_a_bucket_that_keeps_versions(
    bucket: StoreRef, tmp_path: Path
) -> None:
    place = bucket.model_copy(update={"url": f"{bucket.url}/{uuid4().hex}"})
    history = a_history(place, tmp_path)

    report = history.verified(head=history.head())

    assert (causes(report), report.exit_code) == ("", ExitCode.OK)
    for number in (1, 2, 3):
        assert check_about(report, f"receipt {number}", "is back").verdict is Verdict.PROVEN


def test_a_version_that_only_a_full_listing_shows(
    bucket: StoreRef, shared_history: History
) -> None:
    place = bucket.model_copy(update={"url": f"{bucket.url}/{uuid4().hex}"})
    history = shared_history.copied_to(place)
    key = KEYS.ingredient("uid-dogs", Digest("sha256:" + "b" * 64)) + WEIGHTS
    history.store.put(key, b"the same weights as before")
    history.store.delete(key)
    assert history.store.get(key) is None

    report = history.verified(head=history.head())

    assert check_about(report, "receipt 3", "is back").why == f"this is there again: {key}"


def test_without_the_right_to_list_versions_absence_is_not_proven(
    s3_server: Server, bucket: StoreRef, shared_history: History
) -> None:
    place = bucket.model_copy(update={"url": f"{bucket.url}/{uuid4().hex}"})
    history = shared_history.copied_to(place)
    with refusing_versions(s3_server.endpoint) as endpoint:
        blinded = replace(history, ref=place.model_copy(update={"endpoint": endpoint}))
        report = blinded.verified(head=history.head())
        key = KEYS.ingredient("uid-dogs", Digest("sha256:" + "b" * 64)) + WEIGHTS
        history.store.put(key, b"the same weights as before")
        again = blinded.verified(head=history.head())

    assert report.exit_code == ExitCode.NOT_PROVEN
    for number in (1, 2, 3):
        check = check_about(report, f"receipt {number}", "is back")
        assert check.verdict is Verdict.NOT_CHECKABLE
        assert "older versions were not shown" in check.why
        assert "AccessDenied" in check.why
    assert check_about(report, "receipt 3", "exact mean").verdict is Verdict.PROVEN
    assert check_about(again, "receipt 3", "is back").verdict is Verdict.FAILED, "what shows, shows"


def successor_folder(history: History) -> str:
    successor = history.predicate(3).successor
    assert successor is not None
    return KEYS.revision(SOUP.uid, successor.recipe_digest)


def strip_parts(history: History) -> None:
    key = successor_folder(history) + MANIFEST
    manifest = json.loads(history.store.get(key) or b"")
    del manifest["parts"]
    history.store.put(key, json.dumps(manifest).encode())


def down_to_the_base(shared_history: History, tmp_path: Path) -> History:
    """Forget the last two shards as well."""
    root = tmp_path / "store"
    root.mkdir()
    history = shared_history.copied_to(StoreRef(url=root.as_uri()))
    runner = history.runner(tmp_path)
    parts = history.parts(3)
    eels = next(part for part in parts if part.shard_uid == "uid-eels")
    runner.forget("cats", runner.mix((eels,)))
    runner.forget("eels", runner.mix(()))
    return history
