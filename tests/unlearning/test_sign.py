"""Receipts: what they say, how they chain, and what is never signed.

Invariant 17.
"""

import base64
import json
import threading
from pathlib import Path

import pytest
import rfc8785
from cryptography.exceptions import InvalidSignature
from tests.unlearning.cellar import (
    CATS,
    DOGS,
    KEYS,
    a_cellar,
    a_purge,
    a_request,
    a_signing,
    asking_for,
    lineage,
    recipe_of,
)

from stockpot.api.chain import ChainHead
from stockpot.api.results import ResultMessage, SignResult, read_result
from stockpot.api.run_kinds import RunKind
from stockpot.api.runspec import EndedReport, Ending, HeldReport, ObjectRef, RevisionRef, SignRun
from stockpot.core.digests import digest_of_bytes
from stockpot.errors import ExitCode, Refused, StockpotError, Waiting
from stockpot.metrics.progress import Progress
from stockpot.store.folder import FolderStore
from stockpot.unlearning import purge
from stockpot.unlearning.chain import Receipt, check_chain
from stockpot.unlearning.envelope import BadEnvelopeError, seal, unseal
from stockpot.unlearning.inventory import read_inventory
from stockpot.unlearning.keys import keygen, load_private_key, load_public_key
from stockpot.unlearning.sign import run
from stockpot.workload.result import fitting

BEES = CATS.model_copy(update={"uid": "uid-bees", "name": "bees"})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    a_cellar(tmp_path / "store", tmp_path / "work")
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> FolderStore:
    return FolderStore(root)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    keygen(tmp_path / "key.pem")
    return tmp_path / "key.pem"


def purged(root: Path, *shards: object) -> None:
    for shard in shards or (DOGS,):
        spec = a_purge(root).model_copy(update={"shard": shard})
        purge.run(spec, work=root, progress=Progress(), stop=threading.Event())


def sequence_of(result: SignResult) -> int:
    """The one receipt that was signed or found."""
    [receipt] = result.receipts
    return receipt.sequence


def signed(spec: SignRun) -> SignResult:
    return run(spec, work=Path("unused"), progress=Progress(), stop=threading.Event())


def chain_of(store: FolderStore, key: Path) -> tuple[Receipt, ...]:
    public = load_public_key(key.with_name(key.name + ".pub"))
    return check_chain(store, KEYS, "soup-1", public)


def two_receipts(root: Path, key: Path) -> None:
    purged(root, DOGS, BEES)
    signed(a_signing(root, key))
    signed(a_signing(root, key, BEES))


def receipt_path(root: Path, number: int) -> Path:
    return root / KEYS.receipt("soup-1", number)


def broken(store: FolderStore, key: Path) -> str:
    """What is said of a broken chain, by whoever checks it and by whoever would go on with it."""
    with pytest.raises(Refused) as caught:
        chain_of(store, key)
    with pytest.raises(Refused) as refused:
        signed(a_signing(store.root, key, CATS))
    assert refused.value.message == caught.value.message
    assert caught.value.exit_code == ExitCode.WRONG_DIGEST
    assert "nothing is signed onto a broken chain" in caught.value.help
    return caught.value.message


def test_a_receipt_is_an_in_toto_statement_in_a_dsse_envelope(root: Path, key: Path) -> None:
    purged(root)
    report = HeldReport(server="emoji-0", boot="b", epoch=3, holds=(recipe_of("uid-cats"),))

    result = signed(a_signing(root, key, servers=[report]))

    data = receipt_path(root, 1).read_bytes()
    assert [receipt.digest for receipt in result.receipts] == [digest_of_bytes(data)]
    envelope = json.loads(data)
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    payload = base64.b64decode(envelope["payload"])
    statement = json.loads(payload)
    assert payload == rfc8785.dumps(statement)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://stockpot.dev/unlearning-receipt/v1"
    weights = digest_of_bytes(b"weights of cats").removeprefix("sha256:")
    assert statement["subject"] == [{"name": "ml/emoji", "digest": {"sha256": weights}}]
    said = statement["predicate"]
    assert said["shard"] == {"namespace": "ml", "name": "dogs", "uid": "uid-dogs"}
    assert said["requestedAt"] == "2026-11-22T12:00:00Z"
    assert said["signedAt"].endswith("Z")
    assert said["successor"]["lineage"][0]["shard"] == "uid-cats"
    assert said["servers"][0]["holds"] == [recipe_of("uid-cats")]
    assert (said["sequence"], said["previous"]) == (1, None)
    assert said["completeness"] == "Complete"
    inventory = (root / KEYS.inventory("uid-dogs")).read_bytes()
    assert said["purge"] == {
        "objects": 12,
        "bytes": sum(item["sizeBytes"] for item in json.loads(inventory)["items"]),
        "inventoryDigest": digest_of_bytes(inventory),
        "residuals": 0,
    }


def test_the_signature_is_over_what_dsse_says(root: Path, key: Path) -> None:
    # Checked without the library that signed: PAE, then Ed25519.
    purged(root)
    signed(a_signing(root, key))
    envelope = json.loads(receipt_path(root, 1).read_bytes())
    kind, payload = envelope["payloadType"].encode(), base64.b64decode(envelope["payload"])
    signature = base64.b64decode(envelope["signatures"][0]["sig"])
    public = load_public_key(key.with_name("key.pem.pub"))

    said = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    public.verify(signature, said)
    with pytest.raises(InvalidSignature):
        public.verify(signature, said + b" ")


def test_receipts_chain_by_the_digest_of_the_one_before(
    root: Path, store: FolderStore, key: Path
) -> None:
    two_receipts(root, key)

    first, second = chain_of(store, key)

    assert (first.sequence, second.sequence) == (1, 2)
    assert first.statement.predicate.previous is None
    assert second.statement.predicate.previous == first.digest
    assert first.digest == digest_of_bytes(receipt_path(root, 1).read_bytes())
    assert second.statement.predicate.shard == BEES


def test_a_shard_has_one_receipt_however_often_it_is_asked_for(
    root: Path, store: FolderStore, key: Path
) -> None:
    two_receipts(root, key)

    again = signed(a_signing(root, key))

    assert again.reused
    [receipt] = again.receipts
    assert (receipt.sequence, receipt.digest) == (1, chain_of(store, key)[0].digest)
    assert len(chain_of(store, key)) == 2


def test_residuals_make_a_receipt_incomplete(root: Path, store: FolderStore, key: Path) -> None:
    store.put("ml/soups/soup-1/stray", b"who knows")
    purged(root)

    result = signed(a_signing(root, key))

    said = chain_of(store, key)[0].statement.predicate
    assert (said.completeness, said.purge.residuals) == ("Incomplete", 1)
    assert [(receipt.residuals, receipt.missing) for receipt in result.receipts] == [(1, 0)]


def test_an_incomplete_receipt_is_followed_by_another_and_a_complete_one_by_none(
    root: Path, store: FolderStore, key: Path
) -> None:
    purged(root)
    first = asking_for(a_signing(root, key), missing=("UnreachableNode: pets-1",))

    assert [sequence_of(signed(first)), sequence_of(signed(first))] == [1, 1]
    later = asking_for(a_signing(root, key), after=1)
    assert sequence_of(signed(later)) == 2
    assert sequence_of(signed(asking_for(later, after=2))) == 2

    said = [one.statement.predicate for one in chain_of(store, key)]
    assert [one.completeness for one in said] == ["Incomplete", "Complete"]
    assert said[0].missing == ("UnreachableNode: pets-1",)


def test_a_soup_that_serves_nothing_more_has_a_receipt_about_the_purge(
    root: Path, store: FolderStore, key: Path
) -> None:
    purged(root)

    signed(a_signing(root, key).model_copy(update={"successor": None}))

    [subject] = chain_of(store, key)[0].statement.subject
    assert subject.name == "inventory of uid-dogs"
    inventory = read_inventory(store, KEYS, DOGS.uid)
    assert inventory is not None
    assert inventory.digest == f"sha256:{subject.digest['sha256']}"


def test_without_a_purge_there_is_no_receipt(root: Path, store: FolderStore, key: Path) -> None:
    with pytest.raises(Waiting) as no_tombstone:
        signed(a_signing(root, key))
    purged(root)
    inventory = root / KEYS.inventory("uid-dogs")
    data = inventory.read_bytes()
    inventory.unlink()
    with pytest.raises(Waiting) as no_inventory:
        signed(a_signing(root, key))
    inventory.write_bytes(data.replace(b'"complete":true', b'"complete":false'))
    with pytest.raises(Waiting) as not_ended:
        signed(a_signing(root, key))

    assert "there is no tombstone at ml/tombstones/uid-dogs" in no_tombstone.value.message
    assert "there is no inventory at ml/inventories/uid-dogs.json" in no_inventory.value.message
    assert "the purge has not ended" in not_ended.value.message
    assert not_ended.value.help == "run its purge to the end first"
    assert chain_of(store, key) == ()


def test_a_successor_that_was_made_with_the_shard_is_refused(root: Path, key: Path) -> None:
    purged(root)
    spec = a_signing(root, key)
    assert spec.successor is not None
    tainted = spec.successor.model_copy(update={"lineage": lineage("uid-cats", "uid-dogs")})

    with pytest.raises(Refused) as caught:
        signed(spec.model_copy(update={"successor": RevisionRef.model_validate(tainted)}))

    assert "was made with shard uid-dogs" in caught.value.message
    assert not receipt_path(root, 1).exists()


def test_a_server_that_holds_what_was_purged_is_waited_for(root: Path, key: Path) -> None:
    purged(root)
    tainted = recipe_of("uid-cats", "uid-dogs")
    report = HeldReport(server="emoji-1", boot="b", epoch=3, holds=(tainted,))

    with pytest.raises(Waiting) as caught:
        signed(a_signing(root, key, servers=[report]))

    assert caught.value.message.startswith(f"server emoji-1 holds {tainted}")
    assert not receipt_path(root, 1).exists()


def test_a_receipt_says_who_answered_which_nonce_and_who_ended_how(
    root: Path, store: FolderStore, key: Path
) -> None:
    purged(root)
    asked = HeldReport(
        server="emoji-0",
        uid="pod-0",
        node="node-a",
        nonce="00ff",
        boot="b",
        epoch=3,
        holds=(recipe_of("uid-cats"),),
    )
    gone = EndedReport(server="emoji-1", uid="pod-1", node="node-b", how=Ending.OUT_OF_SERVICE)

    spec = a_signing(root, key, servers=[asked])
    signed(spec.model_copy(update={"ended": (gone,)}))

    said = chain_of(store, key)[0].statement.predicate
    assert (said.servers, said.ended) == ((asked,), (gone,))


def test_nothing_is_signed_onto_a_chain_that_was_set_back(
    root: Path, store: FolderStore, key: Path
) -> None:
    two_receipts(root, key)
    second = chain_of(store, key)[1]
    purged(root, CATS)
    recorded = ChainHead(sequence=2, digest=second.digest, receipt=2)
    spec = a_signing(root, key, CATS).model_copy(update={"chain": recorded, "successor": None})
    data = receipt_path(root, 2).read_bytes()
    receipt_path(root, 2).unlink()

    with pytest.raises(Refused, match="the store lacks receipt 2 of soup emoji") as caught:
        signed(spec)

    assert caught.value.exit_code == ExitCode.WRONG_DIGEST
    assert "ml/receipts/soup-1/" in caught.value.help
    receipt_path(root, 2).write_bytes(data)
    assert sequence_of(signed(spec)) == 3


def test_without_a_key_nothing_is_signed(root: Path, tmp_path: Path) -> None:
    purged(root)

    with pytest.raises(Refused) as caught:
        signed(a_signing(root, tmp_path / "nowhere.pem"))

    assert caught.value.exit_code == ExitCode.NO_SIGNING_KEY
    assert "stockpot keygen --out" in caught.value.help


def test_another_key_does_not_continue_a_chain(
    root: Path, store: FolderStore, key: Path, tmp_path: Path
) -> None:
    two_receipts(root, key)
    keygen(tmp_path / "other.pem")

    with pytest.raises(Refused) as caught:
        chain_of(store, tmp_path / "other.pem")
    with pytest.raises(Refused) as refused:
        signed(a_signing(root, tmp_path / "other.pem", CATS))

    where = "ml/receipts/soup-1/00000001.dsse.json: it was signed by another key"
    assert where in caught.value.message
    assert caught.value.exit_code == ExitCode.WRONG_DIGEST
    assert refused.value.exit_code == ExitCode.NO_SIGNING_KEY
    assert "a new key by itself continues no chain" in refused.value.message


def test_an_edited_receipt_breaks_the_chain(root: Path, store: FolderStore, key: Path) -> None:
    two_receipts(root, key)
    path = receipt_path(root, 2)
    envelope = json.loads(path.read_bytes())
    statement = json.loads(base64.b64decode(envelope["payload"]))
    statement["predicate"]["completeness"] = "Incomplete"
    envelope["payload"] = base64.b64encode(rfc8785.dumps(statement)).decode()
    path.write_bytes(rfc8785.dumps(envelope))

    message = broken(store, key)

    assert "00000002.dsse.json: its signature does not fit: it was edited" in message


def test_a_receipt_that_was_put_in_place_of_another_breaks_the_chain(
    root: Path, store: FolderStore, key: Path
) -> None:
    # Signed with the right key, but not what the second one followed.
    two_receipts(root, key)
    private = load_private_key(key)
    first = receipt_path(root, 1)
    statement = json.loads(unseal(first.read_bytes(), private.public_key()))
    statement["predicate"]["requestedAt"] = "2020-01-01T00:00:00Z"
    first.write_bytes(seal(rfc8785.dumps(statement), private))

    assert "00000002.dsse.json: it follows sha256:" in broken(store, key)


def test_a_receipt_in_another_place_breaks_the_chain(
    root: Path, store: FolderStore, key: Path
) -> None:
    two_receipts(root, key)
    receipt_path(root, 1).write_bytes(receipt_path(root, 2).read_bytes())

    assert "00000001.dsse.json: it says that it is number 2" in broken(store, key)


def test_a_receipt_of_another_soup_breaks_the_chain(
    root: Path, store: FolderStore, key: Path
) -> None:
    purged(root)
    spec = a_signing(root, key)
    other = spec.soup.model_copy(update={"uid": "soup-9"})
    signed(spec.model_copy(update={"soup": other}))
    data = store.get(KEYS.receipt("soup-9", 1))
    assert data is not None
    store.put(KEYS.receipt("soup-1", 1), data)

    assert "it is a receipt of another soup: soup-9" in broken(store, key)


def test_a_gap_breaks_the_chain(root: Path, store: FolderStore, key: Path) -> None:
    two_receipts(root, key)
    receipt_path(root, 1).unlink()

    assert "00000001.dsse.json: it is missing, and others come after it" in broken(store, key)


def test_a_stray_file_breaks_the_chain(root: Path, store: FolderStore, key: Path) -> None:
    two_receipts(root, key)
    store.put(KEYS.receipts("soup-1") + "00000001.dsse.json.old", b"?")

    assert "00000001.dsse.json.old: it is no receipt" in broken(store, key)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it is no DSSE envelope"),
        (b"[]", "it is no DSSE envelope"),
        (b'{"payload": "", "payloadType": "text/plain", "signatures": []}', "its payload is"),
        (
            b'{"payload": "", "payloadType": "application/vnd.in-toto+json", "signatures": []}',
            "it was signed by another key: nobody",
        ),
    ],
)
def test_what_is_no_envelope_of_ours_is_named(
    root: Path, store: FolderStore, key: Path, data: bytes, why: str
) -> None:
    two_receipts(root, key)
    receipt_path(root, 2).write_bytes(data)

    assert f"00000002.dsse.json: {why}" in broken(store, key)


def test_a_statement_that_is_signed_but_not_understood_is_refused(
    root: Path, store: FolderStore, key: Path
) -> None:
    receipt = receipt_path(root, 1)
    receipt.parent.mkdir(parents=True)
    receipt.write_bytes(
        seal(b'{"_type": "https://in-toto.io/Statement/v9"}', load_private_key(key))
    )

    assert "it says what this version does not know: _type" in broken(store, key)


def test_sealing_is_repeatable_and_unsealing_gives_back(key: Path) -> None:
    private = load_private_key(key)

    assert seal(b"{}", private) == seal(b"{}", private)
    assert unseal(seal(b"{}", private), private.public_key()) == b"{}"
    with pytest.raises(BadEnvelopeError):
        unseal(seal(b"{}", private)[:-1], private.public_key())


def test_two_who_sign_at_once_get_a_place_each(root: Path, store: FolderStore, key: Path) -> None:
    shards = [DOGS.model_copy(update={"uid": f"uid-{n}", "name": f"n{n}"}) for n in range(6)]
    purged(root, *shards)
    ready = threading.Barrier(len(shards))
    errors = []

    def sign(spec: SignRun) -> None:
        ready.wait()
        try:
            signed(spec)
        except StockpotError as error:
            errors.append(error)

    threads = [
        threading.Thread(target=sign, args=[a_signing(root, key, shard)]) for shard in shards
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    chain = chain_of(store, key)
    assert {one.statement.predicate.shard.uid for one in chain} == {shard.uid for shard in shards}


def shards_named(*names: str) -> list[ObjectRef]:
    return [DOGS.model_copy(update={"uid": f"uid-{name}", "name": name}) for name in names]


def a_batch(root: Path, key: Path, *shards: ObjectRef) -> SignRun:
    requests = tuple(a_request(shard) for shard in shards)
    return a_signing(root, key).model_copy(update={"receipts": requests, "successor": None})


def test_one_run_signs_several_one_after_the_other(
    root: Path, store: FolderStore, key: Path
) -> None:
    shards = shards_named(*(f"n{number}" for number in range(16)))
    purged(root, *shards)

    result = signed(a_batch(root, key, *shards))

    chain = chain_of(store, key)
    assert [receipt.statement.predicate.shard for receipt in chain] == shards
    assert [receipt.digest for receipt in result.receipts] == [entry.digest for entry in chain]
    assert [receipt.previous for receipt in result.receipts] == [None] * 16
    assert [entry.statement.predicate.previous for entry in chain[1:]] == [
        entry.digest for entry in chain[:-1]
    ]


def test_a_run_that_starts_anew_finds_what_was_written_and_goes_on(
    root: Path, store: FolderStore, key: Path
) -> None:
    shards = shards_named("ants", "bees", "cows", "dogs")
    purged(root, *shards)
    signed(a_batch(root, key, *shards[1:3]))

    result = signed(a_batch(root, key, *shards))

    assert [receipt.sequence for receipt in result.receipts] == [3, 1, 2, 4]
    assert len(chain_of(store, key)) == 4
    assert not result.reused
    assert signed(a_batch(root, key, *shards)).reused
    # What a later part of the list names stands there: the others are named with the result.
    named = {receipt.sequence: receipt.previous for receipt in result.receipts}
    assert named == {1: None, 2: None, 3: None, 4: None}


def test_the_entry_before_is_named_where_the_list_does_not_have_it(
    root: Path, store: FolderStore, key: Path
) -> None:
    ants, bees = shards_named("ants", "bees")
    purged(root, ants, bees)
    signed(a_batch(root, key, ants))

    [named] = signed(a_batch(root, key, bees)).receipts

    assert (named.sequence, named.previous) == (2, chain_of(store, key)[0].digest)


def test_a_receipt_that_is_refused_holds_up_no_other(
    root: Path, store: FolderStore, key: Path
) -> None:
    ants, bees, cows = shards_named("ants", "bees", "cows")
    purged(root, ants, cows)

    result = signed(a_batch(root, key, ants, bees, cows))

    assert [receipt.shard for receipt in result.receipts] == [ants.uid, cows.uid]
    with pytest.raises(Waiting, match=bees.uid):
        signed(a_batch(root, key, bees))


def test_what_is_only_looked_for_is_found_and_never_written(
    root: Path, store: FolderStore, key: Path
) -> None:
    ants, bees, cows = shards_named("ants", "bees", "cows")
    purged(root, ants, bees, cows)
    signed(a_batch(root, key, ants))
    spec = a_batch(root, key, cows)
    looked_for = (a_request(one, is_only_looked_for=True) for one in (ants, bees))
    spec = spec.model_copy(update={"receipts": (*looked_for, *spec.receipts)})

    result = signed(spec)

    assert [receipt.shard for receipt in result.receipts] == [ants.uid, cows.uid]
    assert [entry.statement.predicate.shard for entry in chain_of(store, key)] == [ants, cows]


def test_each_receipt_names_those_who_ended_since_it_was_asked_for(
    root: Path, store: FolderStore, key: Path
) -> None:
    early, late = shards_named("early", "late")
    purged(root, early, late)
    ended = EndedReport(
        server="pets-0", uid="u", how=Ending.KUBELET, seen_at="2026-11-22T12:30:00Z"
    )
    spec = a_batch(root, key, early, late)
    requests = (spec.receipts[0], a_request(late, requested_at="2026-11-22T12:31:00Z"))

    signed(spec.model_copy(update={"receipts": requests, "ended": (ended,)}))

    first, second = (entry.statement.predicate for entry in chain_of(store, key))
    assert first.ended == (ended,)
    assert second.ended == ()


def test_the_longest_result_fits_into_what_a_pod_may_leave_behind(
    root: Path, store: FolderStore, key: Path
) -> None:
    shards = [
        DOGS.model_copy(update={"uid": f"{number:036}.{number:016}", "name": f"n{number}"})
        for number in range(16)
    ]
    purged(root, *shards)
    missing = tuple(f"UnreachableNode: {'é' * 200} {number}" for number in range(16))
    requests = tuple(a_request(shard, missing=missing) for shard in shards)
    spec = a_signing(root, key).model_copy(update={"receipts": requests, "successor": None})

    result = signed(spec)

    data = fitting(result.message())
    assert len(data) <= 4096
    assert read_result(RunKind.SIGN, ResultMessage.model_validate_json(data)) == result
    assert len(result.receipts) == 16
    assert {receipt.missing for receipt in result.receipts} == {16}
    assert chain_of(store, key)[15].statement.predicate.missing == missing
    alone = signed(spec.model_copy(update={"receipts": requests[:1]}))
    assert len(alone.missing) == 5, "the receipt has them all"
    assert alone.receipts[0].missing_named == (0, 1, 2, 3, 4)


def test_signing_that_is_asked_to_end_writes_nothing(root: Path, key: Path) -> None:
    purged(root)
    stop = threading.Event()
    stop.set()

    with pytest.raises(StockpotError) as caught:
        run(a_signing(root, key), work=root, progress=Progress(), stop=stop)

    assert caught.value.exit_code == ExitCode.INTERRUPTED
    assert not receipt_path(root, 1).exists()


def test_nothing_here_loads_torch() -> None:
    import subprocess
    import sys

    names = ("purge", "sign", "chain", "keys")
    program = "; ".join(f"import stockpot.unlearning.{name}" for name in names)
    program += "; import stockpot.merging.run, sys; print('torch' in sys.modules)"
    source = Path(__file__).resolve().parents[2] / "src"

    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "False\n"
