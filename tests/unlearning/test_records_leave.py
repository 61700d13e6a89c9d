"""Records leave a shard in a real store: what had them goes, what was made without them stays."""

import threading
from pathlib import Path

import pytest
from tests.unlearning.cellar import (
    CATS,
    KEYS,
    SOUP,
    a_cellar,
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
from stockpot.unlearning.commitments import keep, openings, opens
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
    """The cellar, where dogs is being trained without rex.png, and a soup has that already."""
    cellar = a_cellar(root, tmp_path / "work")
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


def test_what_was_made_with_them_goes_and_what_is_made_without_them_stays(
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


def test_what_a_broken_off_training_left_goes_though_nobody_knows_its_key(
    store: FolderStore, root: Path
) -> None:
    run = KEYS.training_run("uid-dogs", digest_of_bytes(b"another request"))
    pair = (LineagePair(shard="uid-dogs", training_key=digest_of_bytes(b"never told")),)
    begin(store, run, Manifest(kind=ArtefactKind.TRAINING, lineage=pair))

    purged(root)

    assert not keys_below(store, run)


def test_the_current_ingredient_is_kept_whoever_asked_for_it(
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
    """They were named after the purge was asked for."""
    run = KEYS.training_run("uid-dogs", digest_of_bytes(b"asked for later"))
    pair = (LineagePair(shard="uid-dogs", training_key=digest_of_bytes(b"still newer")),)
    begin(store, run, Manifest(kind=ArtefactKind.TRAINING, lineage=pair, left_out=2))

    purged(root)

    assert keys_below(store, run)


def test_a_purge_that_wakes_up_after_more_records_left_removes_nothing(
    store: FolderStore, root: Path
) -> None:
    leave_out_at_least(store, KEYS, "uid-dogs", 2)
    before = keys_below(store, "ml/")

    with pytest.raises(Waiting, match="2 records have left shard uid-dogs"):
        purged(root)

    assert keys_below(store, "ml/") == before


def test_the_shard_goes_on_and_what_had_them_is_refused(store: FolderStore, root: Path) -> None:
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
    told = asking_for(spec, former=former, training_keys=(OLD.key,))

    sign.run(told, work=tmp_path, progress=Progress(), stop=threading.Event())

    public = load_public_key(key.with_name("key.pem.pub"))
    [receipt] = check_chain(store, KEYS, SOUP.uid, public)
    said = receipt.statement.predicate
    assert (said.scope, said.shard.uid, said.completeness) == ("Records", NAME, "Complete")
    assert len(said.commitments) == 1
    assert b"rex" not in (store.get(receipt.key) or b"")
    inventory = read_inventory(store, KEYS, NAME)
    assert inventory is not None
    assert b"rex" not in inventory.canonical
    assert not openings(store, KEYS, "uid-dogs"), "the salts are gone"


def test_whoever_kept_the_copy_shows_that_the_receipt_means_that_record(
    store: FolderStore, root: Path
) -> None:
    keep(store, KEYS, "uid-dogs", ["rex.png"])
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
