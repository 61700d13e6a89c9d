"""The destination of `stockpot merge`: a file, an S3 object, or standard output.

A destination that may not be written to is refused before a checkpoint is opened: see
`store.outputs`.
"""

import os
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

from stockpot.core.digests import Digest
from stockpot.errors import ExitCode, Refused
from stockpot.merging.checkpoints import bucket_store
from stockpot.merging.interfaces import Target
from stockpot.merging.targets import StreamUploads, file_target, object_target, stream_target
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
    """Where a soup is written; its name may hold the digest of the soup's bytes.

    Args:
        where: A path, `s3://bucket/key`, or `-` for standard output.

    Raises:
        Refused: The destination may not be written to (exit 2).
        Transient: Its state cannot be read.
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
        """Whether the destination is standard output, which cannot be read again."""
        return self._where == STREAM

    @property
    def path(self) -> str:
        """The final name."""
        if self.digest is None:
            return self._where
        return self._where.replace(DIGEST, self.digest.rpartition(":")[2])

    def require_no_input(self, sources: Iterable[ByteSource]) -> None:
        """Refuse a destination that is one of the inputs.

        Raises:
            Refused: The destination is an input (exit 2).
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
                f"{self._where} is one of the inputs, and would be replaced",
                "choose another name, and move the result there after the merge",
            )

    def target(self, size_bytes: int) -> AbstractContextManager[Target]:
        """Open the destination for writing."""
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
        assert isinstance(store, StreamUploads)
        return object_target(store, key, size_bytes)


def _address(source: ByteSource) -> str:
    """Return the S3 address of a source; empty if it is not in S3."""
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
            "redirect it into a file or a pipe, or name a file",
        )
    return descriptor


def _require_file(where: str) -> None:
    if where.startswith("s3:"):
        raise _refused(
            f"{where} is not an S3 address", "write s3://bucket/key; for a local file ./s3:…"
        )
    path = output_path(where)
    if DIGEST in where and DIGEST not in path.name:
        raise _not_by_digest(where)
    # The digest is unknown yet, but its length is known.
    require_output(path.with_name(path.name.replace(DIGEST, "0" * 64)))


def _require_object(where: str) -> None:
    if DIGEST in where:
        raise _not_by_digest(where)
    bucket, _, key = where.removeprefix(S3).partition("/")
    if not bucket or not key or key.endswith("/"):
        raise _refused(f"{where} does not name an object", "write s3://bucket/key")


def _not_by_digest(where: str) -> Refused:
    return _refused(
        f"{where} cannot be named by its digest", f"{DIGEST} may stand in the name of a local file"
    )


def _refused(message: str, advice: str) -> Refused:
    return Refused(message, help=advice, exit_code=ExitCode.USAGE)
