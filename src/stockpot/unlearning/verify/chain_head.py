"""Checks that a chain is complete, against a head that was recorded elsewhere.

A chain whose last entries were cut off is valid in itself.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from stockpot.core.digests import Digest
from stockpot.errors import ExitCode, Refused
from stockpot.unlearning.chain import Link
from stockpot.unlearning.verify.verdict import Check, failed, proven, unknown

CHAIN = "the chain"
_HEAD = re.compile(r"(?:(?P<sequence>[1-9][0-9]{0,8}):)?(?P<digest>sha256:[0-9a-f]{64})")


@dataclass(frozen=True)
class Head:
    """The recorded last receipt of a chain."""

    digest: Digest
    sequence: int | None = None
    """Its number, if that was recorded too."""


def parse_head(text: str) -> Head:
    """Parse `sha256:…`, or `3:sha256:…` with the number of the receipt.

    Raises:
        Refused: It is neither (exit 2).
    """
    match = _HEAD.fullmatch(text.strip())
    if match is None:
        raise Refused(
            f"{text!r} is not the head of a chain",
            help="write the digest of the last receipt, sha256:…, or with its number: 3:sha256:…; "
            "a Soup's status.receipts has both",
            exit_code=ExitCode.USAGE,
        )
    sequence = match["sequence"]
    return Head(Digest(match["digest"]), int(sequence) if sequence else None)


def check_head(links: Sequence[Link], head: Head | None) -> Check:
    """Check that the chain still has the recorded head."""
    if head is None:
        why = (
            "neither --head nor --anchor was given: that the last receipts were cut off, or that "
            "the chain was rolled back or forked, does not show in what is left"
        )
        return unknown(CHAIN, "it is complete", why)
    receipts = [link for link in links if link.digest and link.sequence]
    claim = "it is complete up to the head that was given"
    for link in receipts:
        if link.digest == head.digest and head.sequence in (None, link.sequence):
            later = len([receipt for receipt in receipts if receipt.sequence > link.sequence])
            more = f"; {later} came after it" if later else ""
            return proven(CHAIN, claim, f"the head is number {link.sequence}{more}")
    return failed(CHAIN, claim, _why_not(receipts, head))


def _why_not(receipts: Sequence[Link], head: Head) -> str:
    last = receipts[-1] if receipts else None
    end = f"it ends with number {last.sequence}, {last.digest}" if last else "it has no receipt"
    if head.sequence is None:
        return f"no receipt is {head.digest}: it was cut off, rolled back or forked; {end}"
    there = next((receipt for receipt in receipts if receipt.sequence == head.sequence), None)
    if there:
        return (
            f"it was forked or edited: number {head.sequence} is {there.digest}, not {head.digest}"
        )
    return f"it was cut off or rolled back: the head is number {head.sequence}, and {end}"
