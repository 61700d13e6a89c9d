"""From the words of a RunSpec to a store. The one place that knows which adapters there are."""

from urllib.parse import unquote, urlsplit

from stockpot.api.runspec import StoreRef
from stockpot.errors import ExitCode, Refused
from stockpot.store.folder import FolderStore, folder_of_url
from stockpot.store.port import ObjectStore


def open_store(ref: StoreRef) -> ObjectStore:
    """Open the store that a run is told to use.

    Raises:
        Refused: The URL is of no kind that we know, or names no folder or bucket; there are no
            credentials; the bucket does not exist.
        Transient: The store cannot be reached.
    """
    url = urlsplit(ref.url)
    if url.scheme == "file" and url.netloc in ("", "localhost"):
        return FolderStore(folder_of_url(unquote(url.path)))
    if url.scheme == "s3" and url.netloc:
        # Loaded where it is used: a folder's runs start 0.4 s sooner without it.
        from stockpot.store.s3 import S3Store  # noqa: PLC0415

        store = S3Store(ref.endpoint, url.netloc, unquote(url.path))
        # Asked now: in a bucket that is not there no tombstone would be found either.
        store.require_bucket()
        return store
    raise Refused(
        f"{ref.url!r} is no store that we know",
        help="write file:///folder or s3://bucket/prefix",
        exit_code=ExitCode.BAD_RUN_SPEC,
    )
