"""Requests that fail are retried a bounded number of times, with the same result."""

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from tests.contract.conftest import Server
from tests.contract.faults import BUSY, CUT, HALF, LOST, a_proxy
from tests.unlearning.receipt_fixtures import KEYS, SOUP, a_purge, a_signing, fill

from stockpot.api.results import PurgeResult, SignResult
from stockpot.api.runspec import StoreRef
from stockpot.errors import ExitCode, Refused, Transient
from stockpot.metrics.progress import Progress
from stockpot.store.s3 import S3Store
from stockpot.unlearning import purge, sign
from stockpot.unlearning.chain import check_chain
from stockpot.unlearning.keys import keygen, load_public_key

SHORT = (0.01, 0.01)


def once_each(fault: str) -> Callable[[str], str]:
    """Inject a fault into the first request of each kind."""
    counts: Counter[str] = Counter()

    def fault_of(request: str) -> str:
        counts[request] += 1
        return fault if counts[request] == 1 else ""

    return fault_of


@pytest.mark.parametrize("fault", [CUT, LOST, HALF, BUSY])
def test_a_request_that_fails_once_is_retried(
    s3_endpoint: str, bucket_s3: str, tmp_path: Path, fault: str
) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    there.write_bytes(bytes(range(256)) * 1000)
    with a_proxy(s3_endpoint, once_each(fault)) as proxy:
        store = S3Store(proxy.endpoint, bucket_s3, uuid4().hex, waits_s=SHORT)
        store.require_bucket()
        store.put("ns/a", b"soup")
        store.put_file("ns/file", there)
        store.get_file("ns/file", back)

        assert store.get("ns/a") == b"soup"
        assert store.get_range("ns/a", 1, 2) == b"ou"
        assert store.head("ns/a") is not None
        assert [info.key for info in store.list("ns/")] == ["ns/a", "ns/file"]
        for info in list(store.list_versions("ns/")):
            store.purge(info)
        assert list(store.list("")) == []
    assert back.read_bytes() == there.read_bytes()


def test_retries_of_a_busy_store_are_bounded(s3_endpoint: str, bucket_s3: str) -> None:
    with a_proxy(s3_endpoint, lambda _: BUSY) as proxy:
        store = S3Store(proxy.endpoint, bucket_s3, waits_s=SHORT)

        with pytest.raises(Transient, match="SlowDown") as problem:
            store.get("ns/a")

    assert problem.value.exit_code == ExitCode.STORAGE
    assert len(proxy.requests) == 1 + len(SHORT)


def test_permanent_errors_are_not_retried(
    s3_endpoint: str, bucket_s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with a_proxy(s3_endpoint, lambda _: "") as proxy:
        with pytest.raises(Refused, match="has no bucket no-such-bucket"):
            S3Store(proxy.endpoint, "no-such-bucket").put("a", b"")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
        with pytest.raises(Transient, match="refuses us 'a': SignatureDoesNotMatch"):
            S3Store(proxy.endpoint, bucket_s3).put("a", b"")

    assert len(proxy.requests) == 2


def forgotten(ref: StoreRef, key: Path, work: Path) -> tuple[PurgeResult, SignResult]:
    """Purge the shard dogs, and sign the receipt."""
    arguments = {"work": work, "progress": Progress(), "stop": threading.Event()}
    removed = purge.run(a_purge(work).model_copy(update={"store": ref}), **arguments)
    signed = sign.run(a_signing(work, key).model_copy(update={"store": ref}), **arguments)
    return removed, signed


@pytest.mark.parametrize("fault", [CUT, LOST])
def test_an_unlearning_whose_requests_all_fail_once_has_the_same_result(
    s3_server: Server, tmp_path: Path, fault: str
) -> None:
    key = tmp_path / "key.pem"
    keygen(key)
    bucket = s3_server.a_bucket(versioned=True)
    store = S3Store(s3_server.endpoint, bucket)
    fill(store, tmp_path / "work")

    with a_proxy(s3_server.endpoint, once_each(fault)) as proxy:
        ref = StoreRef(url=f"s3://{bucket}", endpoint=proxy.endpoint)
        removed, signed = forgotten(ref, key, tmp_path)

    assert removed.purged_objects == 17
    assert [
        list_version
        for list_version in store.list_versions("ml/")
        if "uid-dogs/" in list_version.key
    ] == []
    (receipt,) = check_chain(store, KEYS, SOUP.uid, load_public_key(key.with_name("key.pem.pub")))
    [named] = signed.receipts
    assert (named.sequence, named.digest) == (1, receipt.digest)
    assert named.signed_at == receipt.statement.predicate.signed_at
