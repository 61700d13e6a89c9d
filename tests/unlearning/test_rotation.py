"""One signing key hands a chain over to the next, and no other key can."""

import json
import threading
from pathlib import Path

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.unlearning.receipt_fixtures import (
    CATS,
    DOGS,
    KEYS,
    SOUP,
    a_filled_store,
    a_purge,
    a_signing,
)

from stockpot.api.runspec import ObjectRef
from stockpot.core.digests import Digest
from stockpot.errors import ExitCode, Refused
from stockpot.metrics.progress import Progress
from stockpot.store.folder import FolderStore
from stockpot.unlearning import purge, sign
from stockpot.unlearning.chain import ChainReading, check_chain, read_chain
from stockpot.unlearning.envelope import key_name, seal
from stockpot.unlearning.keys import PREVIOUS, keygen, load_private_key
from stockpot.unlearning.rotate import rotate
from stockpot.unlearning.rotation import state_rotation

BEES = CATS.model_copy(update={"uid": "uid-bees", "name": "bees"})


class Notary:
    """A store with receipts, and the keys that sign them: `key` now, others by name."""

    def __init__(self, root: Path) -> None:
        a_filled_store(root / "store", root / "laid")
        self.root, self.store = root, FolderStore(root / "store")
        self.secret = root / "secret"
        """A folder like a mounted Secret: the signing key, and the previous one."""
        self.secret.mkdir()
        self.old, self.new, self.third = (self._made(name) for name in ("old", "new", "third"))
        self.install(self.old)

    def _made(self, name: str) -> Ed25519PrivateKey:
        keygen(self.root / name)
        return load_private_key(self.root / name)

    def install(self, key: Ed25519PrivateKey, previous: Ed25519PrivateKey | None = None) -> None:
        for name, which_key in (("signing-key.pem", key), (PREVIOUS, previous)):
            place = self.secret / name
            place.unlink(missing_ok=True)
            if which_key is not None:
                which = {self.old: "old", self.new: "new", self.third: "third"}[which_key]
                place.write_bytes((self.root / which).read_bytes())

    def forget(self, shard: ObjectRef) -> int:
        spec = a_purge(self.store.root).model_copy(update={"shard": shard})
        purge.run(spec, work=self.root, progress=Progress(), stop=threading.Event())
        signing = a_signing(self.store.root, self.secret / "signing-key.pem", shard)
        # No successor: here the shard that would be left is forgotten as well.
        spec_alone = signing.model_copy(update={"successor": None})
        result = sign.run(spec_alone, work=self.root, progress=Progress(), stop=threading.Event())
        [receipt] = result.receipts
        return receipt.sequence

    def chain(self, trusted: Ed25519PrivateKey) -> ChainReading:
        return read_chain(self.store, KEYS, SOUP.uid, trusted.public_key())

    def wrong(self, trusted: Ed25519PrivateKey) -> str:
        return "\n".join(
            f"{link.sequence}: {why}"
            for link in self.chain(trusted).links
            if (why := link.unsigned or link.misplaced)
        )

    def put_in(
        self,
        number: int,
        old: Ed25519PrivateKey,
        new: Ed25519PrivateKey,
        *signers: Ed25519PrivateKey,
        soup: ObjectRef = SOUP,
        previous: Digest | None = None,
    ) -> None:
        """Write a rotation into the chain, as an attacker with write access to the store could."""
        links = {link.sequence: link.digest for link in self.chain(self.old).links}
        before = previous or links.get(number - 1)
        statement = state_rotation(soup, old.public_key(), new.public_key(), number, before)
        self.store.put(KEYS.receipt(SOUP.uid, number), seal(statement.canonical, *signers))


@pytest.fixture
def notary(tmp_path: Path) -> Notary:
    return Notary(tmp_path)


def name(key: Ed25519PrivateKey) -> str:
    return key_name(key.public_key())


def test_a_new_key_beside_the_old_one_hands_over_and_signs(notary: Notary) -> None:
    assert notary.forget(DOGS) == 1
    notary.install(notary.new, previous=notary.old)

    assert notary.forget(BEES) == 3

    chain = notary.chain(notary.old)
    assert [bool(link.rotation) for link in chain.links] == [False, True, False]
    assert chain.succession.names == (name(notary.old), name(notary.new))
    assert [receipt.sequence for receipt in chain.require_sound().receipts] == [1, 3]


@pytest.mark.parametrize("trusted", ["old", "new", "third"])
def test_trust_in_one_key_leads_to_all_others(notary: Notary, trusted: str) -> None:
    notary.forget(DOGS)
    notary.install(notary.new, previous=notary.old)
    notary.forget(BEES)
    notary.install(notary.third, previous=notary.new)
    notary.forget(CATS)

    chain = notary.chain(getattr(notary, trusted))

    assert notary.wrong(getattr(notary, trusted)) == ""
    assert chain.succession.names == (name(notary.old), name(notary.new), name(notary.third))
    assert len(chain.require_sound().receipts) == 3


def test_a_key_may_come_back(notary: Notary) -> None:
    notary.forget(DOGS)
    notary.install(notary.new, previous=notary.old)
    notary.forget(BEES)
    notary.install(notary.old, previous=notary.new)

    assert notary.forget(CATS) == 5

    for key in (notary.old, notary.new):
        names = notary.chain(key).succession.names
        assert names == (name(notary.old), name(notary.new), name(notary.old))
        assert notary.wrong(key) == ""


def test_a_new_key_by_itself_continues_no_chain(notary: Notary) -> None:
    notary.forget(DOGS)
    notary.install(notary.new)

    with pytest.raises(Refused) as caught:
        notary.forget(BEES)

    assert caught.value.exit_code == ExitCode.NO_SIGNING_KEY
    assert f"it was signed by another key: {name(notary.old)}" in caught.value.message
    assert f"put the old one beside it as {PREVIOUS}" in caught.value.help
    assert len(notary.chain(notary.old).entries) == 1


def test_a_previous_key_that_did_not_sign_last_hands_nothing_over(notary: Notary) -> None:
    notary.forget(DOGS)
    notary.install(notary.new, previous=notary.third)

    with pytest.raises(Refused) as caught:
        notary.forget(BEES)

    assert caught.value.exit_code == ExitCode.NO_SIGNING_KEY
    assert f"nor with its {PREVIOUS}, {name(notary.third)}" in caught.value.message


def test_a_key_that_has_handed_over_signs_no_more(notary: Notary) -> None:
    notary.forget(DOGS)
    notary.install(notary.new, previous=notary.old)
    notary.forget(BEES)
    notary.install(notary.old)

    with pytest.raises(Refused) as caught:
        notary.forget(CATS)

    assert caught.value.exit_code == ExitCode.NO_SIGNING_KEY
    assert f"{name(notary.new)} signs there now" in caught.value.message


def test_a_chain_begins_with_the_new_key_where_nothing_was_signed(notary: Notary) -> None:
    notary.install(notary.new, previous=notary.old)

    assert notary.forget(DOGS) == 1

    assert notary.chain(notary.new).succession.names == (name(notary.new),)


def test_handing_over_twice_writes_once(notary: Notary) -> None:
    notary.forget(DOGS)

    first = rotate(notary.store, KEYS, SOUP, notary.old, notary.new)
    again = rotate(notary.store, KEYS, SOUP, notary.old, notary.new)

    assert (first.last, again.head) == (2, first.head)
    assert len(notary.chain(notary.old).entries) == 2


def test_a_broken_chain_cannot_be_handed_over(notary: Notary) -> None:
    notary.forget(DOGS)
    notary.forget(BEES)
    notary.store.delete(KEYS.receipt(SOUP.uid, 1))

    with pytest.raises(Refused, match="it is missing, and others come after it") as caught:
        rotate(notary.store, KEYS, SOUP, notary.old, notary.new)

    assert caught.value.exit_code == ExitCode.WRONG_DIGEST


def test_a_rotation_that_the_new_key_did_not_sign(notary: Notary) -> None:
    notary.forget(DOGS)
    notary.put_in(2, notary.old, notary.new, notary.old)

    assert "2: the new key that it names has not signed it" in notary.wrong(notary.old)


def test_a_rotation_that_only_the_new_key_signed(notary: Notary) -> None:
    # An attacker with write access to the store and a key of their own, without the trusted one.
    notary.forget(DOGS)
    notary.put_in(2, notary.old, notary.new, notary.new)

    wrong = notary.wrong(notary.old)

    assert "2: the old key that it names has not signed it" in wrong


def test_a_second_signature_that_another_key_made(notary: Notary) -> None:
    notary.forget(DOGS)
    notary.put_in(2, notary.old, notary.new, notary.old, notary.third)

    assert "2: the new key that it names has not signed it: it was signed by another key" in (
        notary.wrong(notary.old)
    )


def test_a_second_signature_that_does_not_fit(notary: Notary) -> None:
    notary.forget(DOGS)
    rotate(notary.store, KEYS, SOUP, notary.old, notary.new)
    key = KEYS.receipt(SOUP.uid, 2)
    data = notary.store.get(key) or b""
    other = seal(b"{}", notary.new)
    wrong, right = (_signature_of(envelope, name(notary.new)) for envelope in (other, data))
    notary.store.put(key, data.replace(right, wrong))

    assert "2: the new key that it names has not signed it: its signature does not fit" in (
        notary.wrong(notary.old)
    )


def test_a_rotation_between_two_strangers_leads_nowhere(notary: Notary) -> None:
    notary.forget(DOGS)
    notary.put_in(2, notary.new, notary.third, notary.new, notary.third)

    wrong = notary.wrong(notary.old)

    assert f"2: it hands over from {name(notary.new)}, and what signs here is" in wrong
    assert notary.chain(notary.old).succession.names == (name(notary.old),)


def test_a_rotation_that_was_copied_from_another_soup(notary: Notary) -> None:
    notary.forget(DOGS)
    other = SOUP.model_copy(update={"uid": "soup-9"})
    notary.put_in(2, notary.old, notary.new, notary.old, notary.new, soup=other)

    assert "2: it is a receipt of another soup: soup-9" in notary.wrong(notary.old)


def test_a_rotation_that_follows_something_else(notary: Notary) -> None:
    notary.forget(DOGS)
    elsewhere = Digest("sha256:" + "0" * 64)
    notary.put_in(2, notary.old, notary.new, notary.old, notary.new, previous=elsewhere)

    assert f"2: it follows {elsewhere}" in notary.wrong(notary.old)


def test_a_rotation_to_the_same_key_is_none(notary: Notary) -> None:
    notary.forget(DOGS)
    notary.put_in(2, notary.old, notary.old, notary.old)

    assert f"2: it hands {name(notary.old)} over to itself" in notary.wrong(notary.old)


def test_a_rotation_that_was_taken_away_leaves_its_successors_without_a_key(
    notary: Notary,
) -> None:
    notary.forget(DOGS)
    notary.install(notary.new, previous=notary.old)
    notary.forget(BEES)
    notary.store.delete(KEYS.receipt(SOUP.uid, 2))

    wrong = notary.wrong(notary.old)

    assert "2: it is missing, and others come after it" in wrong
    assert f"3: it was signed by another key: {name(notary.new)}" in wrong
    assert "no rotation leads from the one to the other" in wrong


def test_the_old_key_signs_nothing_after_it_handed_over(notary: Notary) -> None:
    # An attacker who stole the old key after the handover.
    notary.forget(DOGS)
    rotate(notary.store, KEYS, SOUP, notary.old, notary.new)
    forged = notary.store.get(KEYS.receipt(SOUP.uid, 1)) or b""
    notary.store.put(KEYS.receipt(SOUP.uid, 3), forged)

    assert f"3: it was signed by another key: {name(notary.old)}, not {name(notary.new)}" in (
        notary.wrong(notary.old)
    )


@pytest.mark.parametrize("key", ["", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"])
def test_a_rotation_that_carries_no_key(notary: Notary, key: str) -> None:
    notary.forget(DOGS)
    statement = state_rotation(SOUP, notary.old.public_key(), notary.new.public_key(), 2, None)
    edited = statement.model_dump(mode="json", by_alias=True)
    edited["predicate"]["newKey"] = key
    notary.store.put(KEYS.receipt(SOUP.uid, 2), seal(rfc8785.dumps(edited), notary.old, notary.new))

    assert "2: it is no rotation: it carries no Ed25519 key" in notary.wrong(notary.old)


def test_a_rotation_with_an_invalid_predicate(notary: Notary) -> None:
    notary.forget(DOGS)
    statement = {"predicateType": "https://stockpot.dev/key-rotation/v1", "predicate": {}}
    notary.store.put(KEYS.receipt(SOUP.uid, 2), seal(rfc8785.dumps(statement), notary.old))

    assert "2: it is no rotation" in notary.wrong(notary.old)


def test_an_unknown_key_leads_to_nothing(notary: Notary) -> None:
    notary.forget(DOGS)
    rotate(notary.store, KEYS, SOUP, notary.old, notary.new)

    with pytest.raises(Refused, match="it was signed by another key"):
        check_chain(notary.store, KEYS, SOUP.uid, notary.third.public_key())


def _signature_of(envelope: bytes, who: str) -> bytes:

    signatures = {
        signature["keyid"]: signature["sig"] for signature in json.loads(envelope)["signatures"]
    }
    return str(signatures[who]).encode()
