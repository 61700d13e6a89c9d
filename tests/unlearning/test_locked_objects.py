"""Objects whose retention outlasts a purge are named as locked, and purged once it ends."""

import threading
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from minio.commonconfig import GOVERNANCE
from minio.retention import Retention
from tests.contract.conftest import Server, s3_server
from tests.unlearning.receipt_fixtures import (
    DOGS,
    KEYS,
    SOUP,
    a_purge,
    a_signing,
    fill,
    key_of,
    recipe_of,
)

from stockpot.api.results import PurgeResult, SignResult
from stockpot.api.runspec import StoreRef
from stockpot.metrics.progress import Progress
from stockpot.store.keys import MANIFEST, WEIGHTS
from stockpot.store.open import open_store
from stockpot.store.port import Custody, ObjectStore
from stockpot.unlearning import purge, sign
from stockpot.unlearning.chain import check_chain
from stockpot.unlearning.inventory import Inventory, Outcome, Residual, read_inventory
from stockpot.unlearning.keys import keygen, load_public_key
from stockpot.unlearning.residuals import OUTSIDE, Certainty, ResidualKind, name_residuals
from stockpot.unlearning.verify.absence import check_absence
from stockpot.unlearning.verify.store_listing import list_store
from stockpot.unlearning.verify.verdict import Verdict

__all__ = ["s3_server"]

TAINTED = KEYS.revision("soup-1", recipe_of("uid-cats", "uid-dogs"))
LOCKED = (KEYS.ingredient(DOGS.uid, key_of(DOGS.uid)) + WEIGHTS, TAINTED + WEIGHTS)


class Vault:
    """A bucket with object lock, in which two of the shard's objects are retained."""

    def __init__(self, server: Server, work: Path) -> None:
        self.client, self.bucket, self.work = server.client, f"vault-{uuid4().hex[:8]}", work
        self.client.make_bucket(self.bucket, object_lock=True)
        self.ref = StoreRef(url=f"s3://{self.bucket}", endpoint=server.endpoint)
        self.store: ObjectStore = open_store(self.ref)
        fill(self.store, work / "laid")
        until = datetime(2099, 1, 1, tzinfo=UTC)
        for key in LOCKED:
            self.client.set_object_retention(self.bucket, key, Retention(GOVERNANCE, until))
        keygen(work / "key.pem")

    def purge(self) -> PurgeResult:
        spec = a_purge(Path("/")).model_copy(update={"store": self.ref})
        return purge.run(spec, work=self.work, progress=Progress(), stop=threading.Event())

    def sign(self) -> SignResult:
        spec = a_signing(Path("/"), self.work / "key.pem").model_copy(update={"store": self.ref})
        return sign.run(spec, work=self.work, progress=Progress(), stop=threading.Event())

    @property
    def inventory(self) -> Inventory:
        inventory = read_inventory(self.store, KEYS, DOGS.uid)
        assert inventory is not None
        return inventory


@pytest.fixture(scope="module")
def vault(s3_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Vault:
    vault = Vault(s3_server, tmp_path_factory.mktemp("vault"))
    vault.purge()
    return vault


def test_locked_objects_are_named_and_all_others_removed(vault: Vault) -> None:
    inventory = vault.inventory

    kept = {item.key for item in inventory.items if item.result is Outcome.KEPT}
    assert inventory.complete
    assert (
        set(LOCKED) <= kept <= {*LOCKED, TAINTED + MANIFEST, LOCKED[0].replace(WEIGHTS, MANIFEST)}
    )
    assert {residual.key for residual in inventory.residuals} == kept
    assert all(
        residual.kept_by.startswith("retention (GOVERNANCE) until ")
        for residual in inventory.residuals
    )
    left = {info.key for info in vault.store.list_versions(KEYS.shard(DOGS.uid))}
    assert left <= kept


def test_the_manifest_of_a_locked_object_stays_so_its_lineage_is_known(vault: Vault) -> None:
    assert vault.store.get(TAINTED + MANIFEST) is not None
    assert not list_store(vault.store, KEYS.namespace).unaccounted


def test_the_receipt_is_incomplete_and_says_which_lock(vault: Vault) -> None:
    vault.sign()

    public = load_public_key(vault.work / "key.pem.pub")
    predicate = check_chain(vault.store, KEYS, SOUP.uid, public)[-1].statement.predicate
    locked = [residual for residual in predicate.residuals if residual.kind is ResidualKind.LOCKED]
    assert predicate.completeness == "Incomplete"
    assert [residual.certainty for residual in locked] == [Certainty.DETECTED] * len(locked)
    assert "kept by retention (GOVERNANCE) until " in locked[0].what
    assert vault.store.custody() == Custody(locks=True)


def test_a_verifier_reports_locked_objects_as_not_checkable(vault: Vault) -> None:
    listing = list_store(vault.store, KEYS.namespace)

    lineage, absent = check_absence("it", listing, KEYS, DOGS.uid, vault.inventory)

    assert {lineage.verdict, absent.verdict} == {Verdict.NOT_CHECKABLE}
    assert "but for what the receipt admits: " in absent.why


def test_a_lock_that_has_ended_is_purged_by_the_next_run(s3_server: Server, tmp_path: Path) -> None:
    vault = Vault(s3_server, tmp_path)
    first = vault.purge()
    for info in list(vault.store.list_versions("ml/")):
        if info.key in LOCKED:
            vault.client._execute(
                "DELETE",
                bucket_name=vault.bucket,
                object_name=info.key,
                query_params={"versionId": info.version},
                headers={"x-amz-bypass-governance-retention": "true"},
            )

    second = vault.purge()

    assert first.residual_count >= 2
    assert second.residual_count == 0
    assert not list(vault.store.list_versions(KEYS.shard(DOGS.uid)))


def test_undetectable_residuals_are_named_in_every_receipt() -> None:
    inventory = Inventory(soup=SOUP, shard=DOGS)

    residuals = name_residuals(inventory, Custody())

    assert [(residual.kind, residual.certainty) for residual in residuals] == [
        (kind, Certainty.ALWAYS) for kind, _ in OUTSIDE
    ]


def test_found_and_undetectable_residuals_are_distinguished() -> None:
    stray = Residual(key="ml/soups/x", size_bytes=1)
    inventory = Inventory(soup=SOUP, shard=DOGS, residuals=(stray,))

    blind = name_residuals(inventory, Custody(locks=None, replicas=None))
    copied = name_residuals(inventory, Custody(replicas=("arn:aws:s3:::elsewhere",)))

    assert [(o.kind, o.certainty) for o in blind if o.certainty is not Certainty.ALWAYS] == [
        (ResidualKind.UNKNOWN_LINEAGE, Certainty.DETECTED),
        (ResidualKind.LOCKED, Certainty.UNSEEN),
        (ResidualKind.REPLICA, Certainty.UNSEEN),
    ]
    assert "replicated to arn:aws:s3:::elsewhere" in copied[1].what


def test_an_inventory_of_the_first_release_keeps_its_signed_bytes() -> None:
    stray = Residual(key="ml/soups/x", size_bytes=1)
    inventory = Inventory(soup=SOUP, shard=DOGS, residuals=(stray,))

    assert b"keptBy" not in inventory.canonical
    assert b"commitments" not in inventory.canonical
    assert Inventory.model_validate_json(inventory.canonical) == inventory
