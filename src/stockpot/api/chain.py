"""The end of a soup's chain of receipts, as its reader reports it."""

from typing import Annotated

from pydantic import Field

from stockpot.api.model import DigestString, Model


class ChainHead(Model):
    """The last entry of a chain, unverified: it names the chain that a component read."""

    sequence: Annotated[int, Field(ge=0)] = 0
    """The number of the entry; 0 if the chain has none."""
    digest: DigestString | None = None
    """Digest of the entry's bytes; unset if the chain has no entry."""
    receipt: Annotated[int, Field(ge=0)] = 0
    """The number of the last receipt; only key rotations follow it."""

    def __str__(self) -> str:
        """Format the head for `--head`: `3:sha256:…`, or `0` for a chain without entries."""
        return f"{self.sequence}:{self.digest}" if self.digest else "0"
