"""Which store URLs are supported, and how others are refused."""

from pathlib import Path

import pytest

from stockpot.api.runspec import StoreRef
from stockpot.errors import ExitCode, Refused
from stockpot.store.folder import FolderStore
from stockpot.store.open import open_store


def test_a_folder_is_opened_by_its_url(tmp_path: Path) -> None:
    root = tmp_path / "a folder"

    store = open_store(StoreRef(url=root.as_uri()))
    store.put("ns/a", b"x")

    assert isinstance(store, FolderStore)
    assert (root / "ns" / "a").read_bytes() == b"x"


@pytest.mark.parametrize(
    ("url", "endpoint", "sentence", "advice"),
    [
        ("", "", "'' is not a supported store", "s3://bucket/prefix"),
        ("/var/lib", "", "'/var/lib' is not a supported store", "file:///folder"),
        ("gs://bucket", "", "'gs://bucket' is not a supported store", "s3://bucket/prefix"),
        (
            "s3:///prefix",
            "http://x",
            "'s3:///prefix' is not a supported store",
            "s3://bucket/prefix",
        ),
        (
            "file://host/folder",
            "",
            "'file://host/folder' is not a supported store",
            "file:///folder",
        ),
        ("file:folder", "", "names no folder", "file:///var/lib/stockpot"),
        ("s3://bucket", "", "no valid endpoint", "http://host:port"),
        ("s3://bucket", "host:9000", "no valid endpoint", "http://host:port"),
        ("s3://bucket", "http://ho st", "no valid endpoint", "http://host:port"),
        ("s3://bucket", "http://h:1/path", "no valid endpoint", "http://host:port"),
        ("s3://B_", "http://h:1", "B_ is no name of a bucket", "letters"),
    ],
)
def test_an_invalid_store_url_is_refused_with_what_to_write(
    url: str, endpoint: str, sentence: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")

    with pytest.raises(Refused) as refusal:
        open_store(StoreRef(url=url, endpoint=endpoint))

    assert sentence in refusal.value.message
    assert advice in refusal.value.help
    assert refusal.value.exit_code == ExitCode.BAD_RUN_SPEC


def test_a_store_without_credentials_says_which_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")

    with pytest.raises(Refused, match="no credentials for the store s3://bucket/ at") as refusal:
        open_store(StoreRef(url="s3://bucket", endpoint="http://127.0.0.1:1"))

    assert "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in refusal.value.help
