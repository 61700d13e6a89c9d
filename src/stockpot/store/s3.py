"""The object store adapter for S3: AWS, SeaweedFS, MinIO, Ceph and compatible servers.

Credentials come from the environment, never from a RunSpec. Every object lies below the
store's prefix, so that no key can name another tenant's.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from minio.error import S3Error
from urllib3 import BaseHTTPResponse

from stockpot.errors import ExitCode, Refused, Transient
from stockpot.store.atomic import appearing
from stockpot.store.port import UPLOAD, Custody, ObjectInfo, require_key, require_prefix
from stockpot.store.retry import WAITS_S, Response, with_retries
from stockpot.store.s3_client import (
    CLIENT_ERRORS,
    client_of,
    is_transient,
    problem,
    unfinished_uploads,
)
from stockpot.store.s3_retention import custody_of, why_kept
from stockpot.store.s3_stream import BeyondTheEndError, S3Stream

PART_BYTES = 16 << 20
"""One part of an upload in memory at a time; S3's 10,000 parts reach 156 GiB."""
COPY_BYTES = 1 << 20

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_NO_KEY = ("NoSuchKey", "NoSuchVersion")


class S3Store:
    """Objects in one bucket, below one prefix.

    Args:
        endpoint: `http://host:port` or `https://host`.
        bucket: Must exist; only an administrator creates buckets.
        prefix: Precedes every key, followed by a slash.
        waits_s: How long to wait before each retry of a transient error.

    Raises:
        Refused: The environment holds no credentials, or the endpoint or the bucket's name is
            invalid.
    """

    def __init__(
        self, endpoint: str, bucket: str, prefix: str = "", *, waits_s: Sequence[float] = WAITS_S
    ) -> None:
        if not _BUCKET.fullmatch(bucket):
            raise Refused(
                f"{bucket} is no name of a bucket",
                help="it has 3 to 63 small letters, digits, dots and dashes",
                exit_code=ExitCode.BAD_RUN_SPEC,
            )
        self.bucket = bucket
        self._waits_s = waits_s
        self._prefix = require_key(prefix.strip("/")) + "/" if prefix.strip("/") else ""
        self.name = f"s3://{bucket}/{self._prefix} at {endpoint}"
        self._client = client_of(endpoint, self.name)

    def require_bucket(self, prefix: str = "") -> None:
        """Check that the bucket exists, by listing one object of it.

        Args:
            prefix: Where to list: an identity of one namespace may list, and see, no more.

        Raises:
            Refused: It does not exist.
        """
        name = self._prefix + require_prefix(prefix)

        def list_one() -> None:
            next(self._client._list_objects(self.bucket, prefix=name, max_keys=1), None)

        self._request(prefix or "the bucket", list_one)

    def head(self, key: str) -> ObjectInfo | None:
        name = self._name(key)

        def stat() -> ObjectInfo | None:
            try:
                status = self._client.stat_object(self.bucket, name)
            except S3Error as error:
                if error.code in _NO_KEY or self._is_hidden(error, name):
                    return None
                raise
            written = status.last_modified
            modified_at = f"{written.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if written else ""
            return ObjectInfo(key, status.size or 0, modified_at=modified_at)

        return self._request(key, stat)

    def get(self, key: str) -> bytes | None:
        with suppress(KeyError):
            return self._request(key, lambda: self._read(key))
        return None

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        if length == 0:  # The client takes 0 for "to the end".
            if self.head(key) is None:
                raise KeyError(key)
            return b""
        try:
            return self._request(key, lambda: self._read(key, offset, length))
        except BeyondTheEndError:
            return b""

    def stream(self, key: str, offset: int, length: int) -> S3Stream:
        """Open a range to read it in order over one connection: cheaper than many requests."""
        return S3Stream(self._request, self._opened, key, offset, length)

    def put(self, key: str, data: bytes) -> None:
        name = self._name(key)
        self._request(
            key,
            lambda: self._client.put_object(
                self.bucket, name, BytesIO(data), len(data), part_size=PART_BYTES
            ),
        )

    def put_if_absent(self, key: str, data: bytes) -> bool:
        name = self._name(key)
        headers: dict[str, str | list[str] | tuple[str]] = {
            "If-None-Match": "*",
            "Content-Type": "application/octet-stream",
        }

        def put() -> bool:
            try:
                # The public put_object cannot send the condition.
                self._client._put_object(self.bucket, name, data, headers)
            except S3Error as error:
                if error.response.status == 412:
                    return False
                raise
            return True

        return self._request(key, put)

    def put_file(self, key: str, path: Path) -> None:
        name = self._name(key)

        def put() -> None:
            with path.open("rb") as file:
                size_bytes = os.fstat(file.fileno()).st_size
                self._client.put_object(
                    self.bucket,
                    name,
                    file,
                    size_bytes,
                    part_size=PART_BYTES,
                    num_parallel_uploads=1,
                )

        self._request(key, put)

    def put_stream(self, key: str, stream: BinaryIO, size_bytes: int) -> None:
        """Write the bytes of a stream, all or none. Without retries: it can be read only once."""
        name = self._name(key)

        def put() -> None:
            try:
                self._client.put_object(
                    self.bucket,
                    name,
                    stream,
                    size_bytes,
                    part_size=PART_BYTES,
                    num_parallel_uploads=1,
                )
            except OSError as error:
                raise Transient(
                    f"{key} was not written to {self.name}: its bytes ended too early",
                    help="the error of the process that writes it says why; run it again",
                ) from error

        self._request(key, put, waits_s=())

    def get_file(self, key: str, path: Path) -> None:
        def get() -> None:
            with self._reading(key) as response, appearing(path) as file:
                for block in response.stream(COPY_BYTES):
                    file.write(block)

        self._request(key, get)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        name = self._prefix + require_prefix(prefix)

        def list_all() -> tuple[ObjectInfo, ...]:
            objects = self._client.list_objects(self.bucket, name, recursive=True)
            return tuple(
                ObjectInfo(self._key(item.object_name), item.size or 0) for item in objects
            )

        # Not every server lists in order: SeaweedFS lists folder by folder.
        yield from sorted(self._request(prefix, list_all), key=lambda info: info.key)

    def delete(self, key: str) -> None:
        name = self._name(key)
        self._request(key, lambda: self._client.remove_object(self.bucket, name))

    def list_versions(self, prefix: str) -> Iterator[ObjectInfo]:
        name = self._prefix + require_prefix(prefix)

        def list_all() -> tuple[ObjectInfo, ...]:
            objects = self._client.list_objects(
                self.bucket, name, recursive=True, include_version=True
            )
            versions = [
                ObjectInfo(
                    self._key(item.object_name),
                    item.size or 0,
                    item.version_id or "",
                    item.is_delete_marker,
                )
                for item in objects
            ]
            return (*versions, *self._uploads(name))

        # Listed completely before the first is yielded, so that a retry yields nothing twice.
        yield from self._request(prefix, list_all)

    def get_version(self, info: ObjectInfo) -> bytes | None:
        if info.is_delete_marker or info.version.startswith(UPLOAD):
            return None
        name, version = self._prefix + info.key, info.version or None

        def get() -> bytes | None:
            try:
                response = self._client.get_object(self.bucket, name, version_id=version)
            except S3Error as error:
                if error.code in _NO_KEY:
                    return None
                raise
            with closing(response):
                data: bytes = response.read()
                response.release_conn()
                return data

        return self._request(info.key, get)

    def purge(self, info: ObjectInfo) -> None:
        name = self._prefix + info.key  # Not checked: other tools may have written such a key.

        def remove() -> None:
            if not info.version.startswith(UPLOAD):
                self._client.remove_object(self.bucket, name, version_id=info.version or None)
                return
            upload = info.version.removeprefix(UPLOAD)
            try:
                self._client._abort_multipart_upload(self.bucket, name, upload)
            except S3Error as error:
                if error.code != "NoSuchUpload":
                    raise

        self._request(info.key, remove)

    def why_kept(self, info: ObjectInfo) -> str:
        if info.version.startswith(UPLOAD):
            return ""
        name = self._prefix + info.key
        return self._request(
            info.key, lambda: why_kept(self._client, self.bucket, name, info.version)
        )

    def custody(self) -> Custody:
        return self._request(self.bucket, lambda: custody_of(self._client, self.bucket))

    def _is_hidden(self, error: S3Error, name: str) -> bool:
        """Whether a refusal stands for a missing object.

        AWS answers 403 instead of 404 to an identity that may list below certain prefixes only. A
        listing of the object's own name is within such a prefix, and tells them apart.

        Raises:
            S3Error: The identity may not list there either.
        """
        if error.code != "AccessDenied":
            return False
        listed = self._client._list_objects(self.bucket, prefix=name, max_keys=1)
        return all(info.object_name != name for info in islice(listed, 1))

    def _uploads(self, name: str) -> Iterator[ObjectInfo]:
        """List uploads that were begun and neither completed nor aborted."""
        for object_name, upload in unfinished_uploads(self._client, self.bucket, name):
            yield ObjectInfo(self._key(object_name), 0, f"{UPLOAD}{upload}")

    def _name(self, key: str) -> str:
        return self._prefix + require_key(key)

    def _key(self, name: str | None) -> str:
        return (name or "").removeprefix(self._prefix)

    def _read(self, key: str, offset: int = 0, length: int = 0) -> bytes:
        with self._reading(key, offset, length) as response:
            return response.read()

    def _opened(self, key: str, offset: int, length: int) -> BaseHTTPResponse:
        try:
            return self._client.get_object(self.bucket, self._name(key), offset, length)
        except S3Error as error:
            if error.code in _NO_KEY or self._is_hidden(error, self._name(key)):
                raise KeyError(key) from error
            if error.response.status == 416:
                raise BeyondTheEndError from error
            raise

    @contextmanager
    def _reading(self, key: str, offset: int = 0, length: int = 0) -> Iterator[BaseHTTPResponse]:
        with closing(self._opened(key, offset, length)) as response:
            yield response
            response.release_conn()

    def _request(
        self, what: str, request: Callable[[], Response], waits_s: Sequence[float] | None = None
    ) -> Response:
        """Send a request with retries; turn errors of client and network into StockpotErrors."""
        try:
            return with_retries(
                request, is_transient, self._waits_s if waits_s is None else waits_s
            )
        except CLIENT_ERRORS as error:
            raise problem(error, self.name, self.bucket, what) from error
