"""Where a person wants a soup: a file, an object of a bucket, or standard output.

What may not be written to is refused here, before a checkpoint is opened: see `store.outputs`.
"""

import os
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

from stockpot.core.digests import Digest
from stockpot.errors import ExitCode, Refused
from stockpot.merging.checkpoints import bucket_store
from stockpot.merging.engine import Target
from stockpot.merging.targets import Uploads, file_target, object_target, stream_target
from stockpot.store.outputs import (
    FileIdentity,
    identity_of,
    output_file,
    output_path,
    require_output,
)
from stockpot.store.ranges import ByteSource, FileBytes, ObjectBytes

DIGEST = "{digest}"
STREAM = "-"
S3 = "s3://"


class Destination:
    """Under which name a soup appears, which may hold the digest of its bytes.

    Args:
        where: A path, `s3://bucket/key`, or `-` for standard output.

    Raises:
        Refused: Nothing may be written there (exit 2).
        Transient: It cannot be looked at.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self.digest: Digest | None = None
        self._inputs: tuple[FileIdentity, ...] = ()
        if where == STREAM:
            self._stream = _standard_output()
        elif where.startswith(S3):
            _require_object(where)
        else:
            _require_file(where)

    @property
    def is_stream(self) -> bool:
        """Whether it is standard output, which cannot be read again."""
        return self._where == STREAM

    @property
    def path(self) -> str:
        """The final name."""
        if self.digest is None:
            return self._where
        return self._where.replace(DIGEST, self.digest.rpartition(":")[2])

    def require_no_input(self, sources: Iterable[ByteSource]) -> None:
        """Refuse a destination that is one of the files that are read.

        Raises:
            Refused: It is (exit 2).
        """
        sources = tuple(sources)
        self._inputs = tuple(
            identity_of(os.fstat(source.descriptor))
            for source in sources
            if isinstance(source, FileBytes)
        )
        if self.is_stream:
            is_input = identity_of(os.fstat(self._stream)) in self._inputs
        elif self._where.startswith(S3):
            is_input = self._where in map(_address, sources)
        else:
            standing = require_output(Path(self._where))
            is_input = standing is not None and identity_of(standing) in self._inputs
        if is_input:
            raise _refused(
                f"{self._where} is one of the files that are read, and would be replaced",
                "choose another name; move it there when all is well",
            )

    def target(self, size_bytes: int) -> AbstractContextManager[Target]:
        """Open what is written to."""
        if self.is_stream:
            return stream_target(self._stream)
        if not self._where.startswith(S3):
            path = Path(self._where)
            file = output_file(
                path,
                final_name=(lambda: Path(self.path)) if DIGEST in self._where else None,
                inputs=self._inputs,
            )
            return file_target(path, size_bytes, file)
        bucket, _, key = self._where.removeprefix(S3).partition("/")
        store = bucket_store(bucket)
        assert isinstance(store, Uploads)
        return object_target(store, key, size_bytes)


def _address(source: ByteSource) -> str:
    """Return under which address of S3 a source lies; nothing where it lies elsewhere."""
    bucket = getattr(source.store, "bucket", "") if isinstance(source, ObjectBytes) else ""
    return f"{S3}{bucket}/{source.name}" if bucket else ""


def _standard_output() -> int:
    try:
        descriptor = sys.stdout.fileno()
        sys.stdout.flush()
    except (AttributeError, OSError, ValueError) as error:
        raise _refused("there is no standard output to write to", "name a file") from error
    if os.isatty(descriptor):
        raise _refused(
            "standard output is a terminal, and weights are bytes",
            "lead it into a file or a pipe, or name a file",
        )
    return descriptor


def _require_file(where: str) -> None:
    if where.startswith("s3:"):
        raise _refused(f"{where} is no address of S3", "write s3://bucket/key; for a file: ./s3:…")
    path = output_path(where)
    if DIGEST in where and DIGEST not in path.name:
        raise _not_by_digest(where)
    # Of a name with a digest it is known at least how long it will be.
    require_output(path.with_name(path.name.replace(DIGEST, "0" * 64)))


def _require_object(where: str) -> None:
    if DIGEST in where:
        raise _not_by_digest(where)
    bucket, _, key = where.removeprefix(S3).partition("/")
    if not bucket or not key or key.endswith("/"):
        raise _refused(f"{where} names no object", "write s3://bucket/key")


def _not_by_digest(where: str) -> Refused:
    return _refused(
        f"{where} cannot be named by its digest", f"{DIGEST} may stand in the name of a local file"
    )


def _refused(message: str, advice: str) -> Refused:
    return Refused(message, help=advice, exit_code=ExitCode.USAGE)
