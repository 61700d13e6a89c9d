"""Where a soup's chain of receipts ends, as whoever looked at it says."""

from typing import Annotated

from pydantic import Field

from stockpot.api.model import DigestString, Model


class ChainHead(Model):
    """The last entry of a chain. Nobody has checked it: it says which chain somebody saw."""

    sequence: Annotated[int, Field(ge=0)] = 0
    """Its number; 0 where the chain has no entry."""
    digest: DigestString | None = None
    """Of its bytes; none where the chain has no entry."""
    receipt: Annotated[int, Field(ge=0)] = 0
    """The number of the last receipt: after it stand only keys that handed over to others."""

    def __str__(self) -> str:
        """Write it as `--head` takes it, `3:sha256:…`; `0` for a chain without entries."""
        return f"{self.sequence}:{self.digest}" if self.digest else "0"
