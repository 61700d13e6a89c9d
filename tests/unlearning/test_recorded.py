"""What an earlier release signed and stored stays readable, and is written again byte by byte."""

from pathlib import Path

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.unlearning.receipt_fixtures import KEYS

from stockpot.api.model import Model
from stockpot.core.digests import Digest
from stockpot.store.folder import FolderStore
from stockpot.unlearning import rotation
from stockpot.unlearning.anchors import AnchoredHead
from stockpot.unlearning.chain import read_chain
from stockpot.unlearning.envelope import seal
from stockpot.unlearning.inventory import Inventory
from stockpot.unlearning.rotation import state_rotation
from stockpot.unlearning.statement import UnlearningStatement, state
from stockpot.unlearning.tombstone import Tombstone

RECORDED = Path(__file__).with_name("recorded")
OLD_KEY, NEW_KEY = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2))


def recorded(name: str) -> bytes:
    return (RECORDED / name).read_bytes()


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    store = FolderStore(tmp_path)
    for number in (1, 2, 3):
        store.put(KEYS.receipt("soup-1", number), recorded(f"{number:08}.dsse.json"))
    return store


def test_a_recorded_chain_is_sound(store: FolderStore) -> None:
    chain = read_chain(store, KEYS, "soup-1", OLD_KEY.public_key()).require_sound()

    assert [receipt.sequence for receipt in chain.receipts] == [1, 3]
    assert chain.last == 3


@pytest.mark.parametrize(("place", "key"), [(0, OLD_KEY), (1, NEW_KEY)])
def test_a_recorded_receipt_is_signed_again_byte_by_byte(
    store: FolderStore, place: int, key: Ed25519PrivateKey
) -> None:
    chain = read_chain(store, KEYS, "soup-1", OLD_KEY.public_key()).require_sound()
    receipt = chain.receipts[place]

    again: UnlearningStatement = state(receipt.statement.predicate)

    assert seal(again.canonical, key) == recorded(f"{receipt.sequence:08}.dsse.json")


def test_a_recorded_rotation_is_signed_again_byte_by_byte(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = read_chain(store, KEYS, "soup-1", OLD_KEY.public_key()).links[1]
    assert link.rotation is not None
    signed_at, version = link.rotation.signed_at, link.rotation.versions["stockpot"]
    monkeypatch.setattr(rotation, "now", lambda: signed_at)
    monkeypatch.setattr(rotation, "__version__", version)

    again = state_rotation(
        link.rotation.soup,
        OLD_KEY.public_key(),
        NEW_KEY.public_key(),
        2,
        Digest(link.rotation.previous or ""),
    )

    assert seal(again.canonical, OLD_KEY, NEW_KEY) == recorded("00000002.dsse.json")


def test_a_recorded_inventory_is_written_again_byte_by_byte() -> None:
    data = recorded("inventory.json")

    assert Inventory.model_validate_json(data).canonical == data


@pytest.mark.parametrize(
    ("name", "model"), [("tombstone.json", Tombstone), ("anchor.json", AnchoredHead)]
)
def test_a_recorded_mark_is_written_again_byte_by_byte(name: str, model: type[Model]) -> None:
    data = recorded(name)

    again = model.model_validate_json(data).model_dump(mode="json", by_alias=True)

    assert rfc8785.dumps(again) == data
