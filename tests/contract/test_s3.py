"""Behaviour that only a real S3 server shows: versions, prefixes, uploads and denied access."""

import socket
from collections.abc import Iterator
from uuid import uuid4

import pytest

from stockpot.api.runspec import StoreRef
from stockpot.errors import ExitCode, Refused, Transient
from stockpot.store.open import open_store
from stockpot.store.port import ObjectInfo
from stockpot.store.s3 import S3Store


@pytest.fixture
def kept(s3_endpoint: str, bucket_s3_versioned: str) -> S3Store:
    """A store in a bucket with versioning."""
    return S3Store(s3_endpoint, bucket_s3_versioned, uuid4().hex)


def test_a_store_is_opened_by_its_url(s3_endpoint: str, bucket_s3: str) -> None:
    ref = StoreRef(url=f"s3://{bucket_s3}/team/a", endpoint=s3_endpoint)

    store = open_store(ref)
    store.put("ns/a", b"x")

    whole = S3Store(ref.endpoint, bucket_s3)
    assert whole.get("team/a/ns/a") == b"x"


def test_a_store_lists_nothing_outside_its_prefix(kept: S3Store, s3_endpoint: str) -> None:
    beside = S3Store(s3_endpoint, kept.bucket, kept._prefix.rstrip("/") + "x")
    beside.put("ns/a", b"theirs")
    kept.put("ns/a", b"ours")

    assert list(kept.list("")) == [ObjectInfo("ns/a", 4)]
    assert [info.key for info in kept.list_versions("")] == ["ns/a"]


def test_a_deletion_leaves_old_versions_which_are_listed(kept: S3Store) -> None:
    kept.put("ns/weights", b"secret")
    kept.delete("ns/weights")

    versions = list(kept.list_versions("ns/"))

    assert sorted((info.size_bytes, info.is_delete_marker) for info in versions) == [
        (0, True),
        (6, False),
    ]


def test_purging_only_the_delete_marker_restores_the_object(
    kept: S3Store,
) -> None:
    kept.put("ns/weights", b"secret")
    kept.delete("ns/weights")

    for info in [info for info in kept.list_versions("ns/") if info.is_delete_marker]:
        kept.purge(info)
    assert kept.get("ns/weights") == b"secret"
    for info in list(kept.list_versions("ns/")):
        kept.purge(info)
        kept.purge(info)

    assert kept.get("ns/weights") is None
    assert list(kept.list_versions("ns/")) == []


def test_every_unfinished_upload_of_a_key_is_listed(kept: S3Store) -> None:
    name = kept._prefix + "ns/big"
    begun = {kept._client._create_multipart_upload(kept.bucket, name, {}) for _ in range(3)}

    versions = {info.version.removeprefix("upload:") for info in kept.list_versions("ns/")}

    assert versions == begun


def test_a_missing_bucket_is_named(s3_endpoint: str) -> None:
    ref = StoreRef(url="s3://no-such-bucket/x", endpoint=s3_endpoint)

    with pytest.raises(Refused, match="has no bucket no-such-bucket") as refusal:
        open_store(ref)

    assert refusal.value.exit_code == ExitCode.STORAGE
    assert "create it" in refusal.value.help
    store = S3Store(ref.endpoint, "no-such-bucket")
    for ask in (lambda: store.put("a", b""), lambda: list(store.list("")), lambda: store.get("a")):
        with pytest.raises(Refused, match="has no bucket no-such-bucket"):
            ask()


def test_refused_credentials_are_reported(
    s3_endpoint: str, bucket_s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    ref = StoreRef(url=f"s3://{bucket_s3}", endpoint=s3_endpoint)

    with pytest.raises(Transient, match=rf"s3://{bucket_s3}/ at http.* refuses us") as refusal:
        open_store(ref)

    assert refusal.value.exit_code == ExitCode.STORAGE
    assert "AWS_SECRET_ACCESS_KEY" in refusal.value.help


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never responds."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield int(held.getsockname()[1])


def test_an_unresponsive_server_is_a_transient_error(
    silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    store = S3Store(f"http://127.0.0.1:{silent_port}", "bucket", waits_s=(0.01,))

    with pytest.raises(Transient, match=rf"127.0.0.1:{silent_port} does not answer") as problem:
        store.get("ns/a")

    assert problem.value.exit_code == ExitCode.STORAGE
    assert "'ns/a'" in problem.value.message
    assert "run it again" in problem.value.help
