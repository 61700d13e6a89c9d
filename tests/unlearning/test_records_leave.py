"""Records leave a shard in a real store: artefacts with them go, those without them stay."""

import threading
from pathlib import Path

import pytest
from tests.unlearning.receipt_fixtures import (
    CATS,
    KEYS,
    SOUP,
    a_filled_store,
    a_purge,
    a_signing,
    asking_for,
    key_of,
    keys_below,
    lineage,
    recipe_of,
)

from stockpot.api.manifest import ArtefactKind, LineagePair, Manifest
from stockpot.api.results import PurgeResult
from stockpot.api.runspec import FormerRecords, ObjectRef, PurgeRun
from stockpot.core.digests import Digest, digest_of_bytes
from stockpot.core.recipe import Ingredient, ShardUID, former_of
from stockpot.errors import ExitCode, Refused, Waiting
from stockpot.metrics.progress import Progress
from stockpot.store.artefacts import begin
from stockpot.store.folder import FolderStore
from stockpot.store.tombstones import leave_out_at_least, refuse_forgotten, refuse_too_many
from stockpot.unlearning import purge, sign
from stockpot.unlearning.chain import check_chain
from stockpot.unlearning.commitments import keep_commitments, openings, opens
from stockpot.unlearning.inventory import read_inventory
from stockpot.unlearning.keys import keygen, load_public_key

OLD = Ingredient(ShardUID("uid-dogs"), key_of("uid-dogs"))
NAME = former_of(OLD)
DOGS = ObjectRef(namespace="ml", name="dogs", uid=NAME)
NEW_REQUEST, NEW_KEY = digest_of_bytes(b"without rex"), digest_of_bytes(b"key without rex")


def new_pair(shard: str) -> tuple[LineagePair, ...]:
    return (LineagePair(shard=shard, training_key=NEW_KEY),)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path, tmp_path: Path) -> FolderStore:
    """A store where dogs is being trained without rex.png, and a soup has that training already."""
    cellar = a_filled_store(root, tmp_path / "work")
    run = KEYS.training_run("uid-dogs", NEW_REQUEST)
    pairs = new_pair("uid-dogs")
    begin(cellar, run, Manifest(kind=ArtefactKind.TRAINING, lineage=pairs, request=NEW_REQUEST))
    cellar.put(f"{run}checkpoints/step-50/state", b"without rex")
    kind, recipe = ArtefactKind.REVISION, recipe_of("cats", "dogs without rex")
    revision = KEYS.revision("soup-1", recipe)
    begin(cellar, revision, Manifest(kind=kind, lineage=(*lineage("uid-cats"), *pairs)))
    return cellar


def a_leaving(root: Path, *records: str) -> PurgeRun:
    former = FormerRecords(
        shard="uid-dogs",
        training_key=OLD.key,
        records=records or ("rex.png",),
        requests=(NEW_REQUEST,),
        left_out=1,
    )
    return a_purge(root, DOGS).model_copy(update={"former": former})


def purged(root: Path) -> PurgeResult:
    return purge.run(a_leaving(root), work=root.parent, progress=Progress(), stop=threading.Event())


def test_artefacts_with_the_records_go_and_those_without_them_stay(
    store: FolderStore, root: Path
) -> None:
    before = keys_below(store, "ml/shards/uid-cats/")
    run = KEYS.training_run("uid-dogs", NEW_REQUEST)

    result = purged(root)

    left = keys_below(store, "ml/shards/uid-dogs/")
    assert left == [f"{run}checkpoints/step-50/state", f"{run}manifest.json"]
    soups = keys_below(store, "ml/soups/")
    assert not [key for key in soups if recipe_of("uid-cats", "uid-dogs")[7:] in key]
    assert not [key for key in soups if recipe_of("uid-dogs", "uid-bees")[7:] in key]
    assert [key for key in soups if recipe_of("cats", "dogs without rex")[7:] in key]
    assert keys_below(store, "ml/shards/uid-cats/") == before
    assert result.purged_objects
    assert purged(root).reused


def test_files_of_an_interrupted_training_go_although_its_key_is_unknown(
    store: FolderStore, root: Path
) -> None:
    run = KEYS.training_run("uid-dogs", digest_of_bytes(b"another request"))
    pair = (LineagePair(shard="uid-dogs", training_key=digest_of_bytes(b"never told")),)
    begin(store, run, Manifest(kind=ArtefactKind.TRAINING, lineage=pair))

    purged(root)

    assert not keys_below(store, run)


def test_the_current_ingredient_is_kept_whatever_its_request(
    store: FolderStore, root: Path
) -> None:
    folder = KEYS.ingredient("uid-dogs", NEW_KEY)
    begin(store, folder, Manifest(kind=ArtefactKind.INGREDIENT, lineage=new_pair("uid-dogs")))
    spec = a_leaving(root)
    assert spec.former is not None
    former = spec.former.model_copy(update={"kept": NEW_KEY})

    purge.run(
        spec.model_copy(update={"former": former}),
        work=root.parent,
        progress=Progress(),
        stop=threading.Event(),
    )

    assert keys_below(store, folder)


def test_a_training_without_still_more_records_stays(store: FolderStore, root: Path) -> None:
    """Its records were named after the purge was requested."""
    run = KEYS.training_run("uid-dogs", digest_of_bytes(b"asked for later"))
    pair = (LineagePair(shard="uid-dogs", training_key=digest_of_bytes(b"still newer")),)
    begin(store, run, Manifest(kind=ArtefactKind.TRAINING, lineage=pair, left_out=2))

    purged(root)

    assert keys_below(store, run)


def test_a_late_purge_removes_nothing_after_more_records_left(
    store: FolderStore, root: Path
) -> None:
    leave_out_at_least(store, KEYS, "uid-dogs", 2)
    before = keys_below(store, "ml/")

    with pytest.raises(Waiting, match="2 records have left shard uid-dogs"):
        purged(root)

    assert keys_below(store, "ml/") == before


def test_the_shard_lives_on_and_trainings_with_the_records_are_refused(
    store: FolderStore, root: Path
) -> None:
    purged(root)

    refuse_forgotten(store, KEYS, ["uid-dogs"], new_pair("uid-dogs"))
    refuse_too_many(store, KEYS, "uid-dogs", 1)
    with pytest.raises(Refused) as refused:
        refuse_forgotten(store, KEYS, ["uid-dogs"], lineage("uid-dogs"))
    assert refused.value.exit_code is ExitCode.FORGOTTEN
    with pytest.raises(Refused):
        refuse_too_many(store, KEYS, "uid-dogs", 0)


def test_the_receipt_commits_to_the_records_and_names_none(
    store: FolderStore, root: Path, tmp_path: Path
) -> None:
    key = tmp_path / "key.pem"
    keygen(key)
    purged(root)
    spec = a_signing(root, key, DOGS)
    former = a_leaving(root).former
    spec_with_records = asking_for(spec, former=former, training_keys=(OLD.key,))

    sign.run(spec_with_records, work=tmp_path, progress=Progress(), stop=threading.Event())

    public = load_public_key(key.with_name("key.pem.pub"))
    [receipt] = check_chain(store, KEYS, SOUP.uid, public)
    predicate = receipt.statement.predicate
    assert (predicate.scope, predicate.shard.uid, predicate.completeness) == (
        "Records",
        NAME,
        "Complete",
    )
    assert len(predicate.commitments) == 1
    assert b"rex" not in (store.get(receipt.key) or b"")
    inventory = read_inventory(store, KEYS, NAME)
    assert inventory is not None
    assert b"rex" not in inventory.canonical
    assert not openings(store, KEYS, "uid-dogs"), "the salts are gone"


def test_a_kept_opening_shows_which_record_the_receipt_covers(
    store: FolderStore, root: Path
) -> None:
    keep_commitments(store, KEYS, "uid-dogs", ["rex.png"])
    [copy] = openings(store, KEYS, "uid-dogs")

    purged(root)

    inventory = read_inventory(store, KEYS, NAME)
    assert inventory is not None
    [commitment] = inventory.commitments
    assert opens(commitment, copy)
    assert not opens(commitment, copy.model_copy(update={"record": "tom.png"}))


def test_all_of_the_shard_can_be_forgotten_afterwards(store: FolderStore, root: Path) -> None:
    purged(root)

    whole = a_purge(root)
    purge.run(whole, work=root.parent, progress=Progress(), stop=threading.Event())

    assert not keys_below(store, "ml/shards/uid-dogs/")
    assert keys_below(store, KEYS.ingredient(CATS.uid, Digest(key_of(CATS.uid))))
