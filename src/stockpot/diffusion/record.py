"""One record of a shard: a picture and its caption."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, NoReturn

from PIL import Image

from stockpot.core.digests import PREFIX, Digest, digest_of_json
from stockpot.core.omissions import printable
from stockpot.diffusion.decoding import DecodedPicture, Undecodable, decode_picture
from stockpot.errors import ExitCode, Refused
from stockpot.store.atomic import explained

_BLOCK_BYTES = 1 << 20


class CorruptPicture(Exception):
    """A picture that cannot be decoded. The message names it."""


@dataclass(frozen=True)
class Record:
    """One picture and its caption, and where the picture's bytes lie."""

    name: str
    """Path of the picture inside the data folder; `shard.tar/000.jpg` in a tar."""
    caption: str
    picture: Digest
    """Digest of the picture's bytes."""
    file: Path
    offset: int
    size_bytes: int

    @cached_property
    def digest(self) -> Digest:
        """Digest of picture and caption together."""
        return digest_of_json("record/1", {"caption": self.caption, "picture": self.picture})

    @property
    def names(self) -> frozenset[str]:
        """All names by which `excludeRecords` may name the record."""
        return frozenset({self.name, self.picture, self.digest})

    def read(self) -> bytes:
        """Read the picture's bytes, and check that they are those of when the folder was listed.

        Raises:
            Refused: (WRONG_DIGEST) They have changed since.
            Transient: The file cannot be read.
        """
        with explained(self.file), self.file.open("rb") as file:
            file.seek(self.offset)
            data = file.read(self.size_bytes)
        if Digest(PREFIX + hashlib.sha256(data).hexdigest()) != self.picture:
            raise Refused(
                f"{self.name} has changed while it was being read.",
                help="Do not write to a data folder while it is in use.",
                exit_code=ExitCode.WRONG_DIGEST,
            )
        return data

    def decode(self) -> Image.Image:
        """Read and decode the picture: upright, in RGB, what is transparent laid on white.

        Raises:
            CorruptPicture: The bytes are no picture of a kind that we read.
            Refused: They have changed since the folder was listed.
            Transient: The file cannot be read.
        """
        return self.decode_with_notes().image

    def decode_with_notes(self) -> DecodedPicture:
        """Read and decode the picture, and say what of it is not used.

        Raises:
            CorruptPicture: The bytes are no picture of a kind that we read.
            Refused: They have changed since the folder was listed.
            Transient: The file cannot be read.
        """
        data = self.read()
        try:
            return decode_picture(data)
        except Undecodable as error:
            raise CorruptPicture(f"{printable(self.name)} ({error})") from error


def hash_blocks(file: BinaryIO, size_bytes: int | None = None) -> tuple[Digest, int]:
    """Digest the rest of a file, block by block.

    Args:
        file: Open, at the first byte.
        size_bytes: How many bytes at most; None: to its end.

    Returns:
        The digest, and how many bytes there were.
    """
    digest, done = hashlib.sha256(), 0
    while size_bytes is None or done < size_bytes:
        wanted = _BLOCK_BYTES if size_bytes is None else min(_BLOCK_BYTES, size_bytes - done)
        block = file.read(wanted)
        if not block:
            break
        digest.update(block)
        done += len(block)
    return Digest(PREFIX + digest.hexdigest()), done


def refuse_data(message: str, advice: str) -> NoReturn:
    """Refuse the data of a shard.

    Raises:
        Refused: (BAD_DATA) Always.
    """
    raise Refused(printable(message), help=printable(advice), exit_code=ExitCode.BAD_DATA)
