"""Counts files, images and captions that are not used exactly as they were given."""

from collections.abc import Iterable

from stockpot.api.omissions import (
    LONGEST_EXAMPLE,
    MOST_EXAMPLES,
    Omission,
    OmissionReason,
    Omissions,
)


class OmissionCounter:
    """Counts omissions by reason, and keeps the first few names of each."""

    def __init__(self) -> None:
        self._counts: dict[OmissionReason, int] = {}
        self._examples: dict[OmissionReason, list[str]] = {}

    def add(self, reason: OmissionReason, name: str) -> None:
        """Count one more file, image or caption."""
        self._counts[reason] = self._counts.get(reason, 0) + 1
        examples = self._examples.setdefault(reason, [])
        if len(examples) < MOST_EXAMPLES:
            examples.append(shortened(printable(name)))

    def omissions(self) -> Omissions:
        """Return one omission for each reason, in the order of the reasons."""
        return tuple(
            Omission(
                reason=reason.value,
                count=self._counts[reason],
                examples=tuple(self._examples[reason]),
            )
            for reason in OmissionReason
            if reason in self._counts
        )


def combine(*parts: Iterable[Omission]) -> Omissions:
    """Add up omissions by reason, with the first few examples of each."""
    combined: dict[str, Omission] = {}
    for omission in (omission for part in parts for omission in part):
        before = combined.get(omission.reason)
        combined[omission.reason] = omission if before is None else _sum(before, omission)
    order = [reason.value for reason in OmissionReason]
    known = [combined[reason] for reason in order if reason in combined]
    return (*known, *(combined[reason] for reason in combined if reason not in order))


def printable(name: str) -> str:
    r"""Write a name so that any terminal, log and JSON document takes it.

    Control characters, and bytes that are no UTF-8, become escapes: `\n`, `\x1b`, `\udcff`.
    """
    if name.isprintable():
        return name
    return "".join(
        letter
        if letter.isprintable()
        else letter.encode("unicode_escape", errors="surrogatepass").decode()
        for letter in name
    )


def _sum(omission: Omission, other: Omission) -> Omission:
    return Omission(
        reason=omission.reason,
        count=omission.count + other.count,
        examples=(*omission.examples, *other.examples)[:MOST_EXAMPLES],
    )


def shortened(name: str) -> str:
    """Cut the middle out of a long name."""
    if len(name) <= LONGEST_EXAMPLE:
        return name
    # The end of a path says more than its middle.
    half = (LONGEST_EXAMPLE - 1) // 2
    return f"{name[:half]}…{name[-half:]}"
