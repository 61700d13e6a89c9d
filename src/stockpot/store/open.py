"""Opens the store of a RunSpec. The only module that knows which adapters there are."""

from urllib.parse import unquote, urlsplit

from stockpot.api.runspec import StoreRef
from stockpot.errors import ExitCode, Refused
from stockpot.store.folder import FolderStore, folder_of_url
from stockpot.store.port import ObjectStore


def open_store(ref: StoreRef, namespace: str = "") -> ObjectStore:
    """Open the store that a RunSpec names.

    Args:
        ref: The store.
        namespace: The namespace whose objects are used: the credentials may reach no others. Empty
            for a reader of the whole store.

    Raises:
        Refused: The URL has an unsupported scheme, or names no folder or bucket; there are no
            credentials; the bucket does not exist.
        Transient: The store cannot be reached.
    """
    url = urlsplit(ref.url)
    if url.scheme == "file" and url.netloc in ("", "localhost"):
        return FolderStore(folder_of_url(unquote(url.path)))
    if url.scheme == "s3" and url.netloc:
        # Imported here: runs with a folder store start 0.4 s sooner without it.
        from stockpot.store.s3 import S3Store  # noqa: PLC0415

        store = S3Store(ref.endpoint, url.netloc, unquote(url.path))
        # A missing bucket must not be taken for one without tombstones.
        store.require_bucket(f"{namespace}/" if namespace else "")
        return store
    raise Refused(
        f"{ref.url!r} is not a supported store",
        help="write file:///folder or s3://bucket/prefix",
        exit_code=ExitCode.BAD_RUN_SPEC,
    )
