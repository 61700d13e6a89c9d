"""Data that is not used exactly as given: counts by reason, with a few names each.

A run's result and the shard's status list omissions. A reason's meaning is followed by a colon and
a number: `pictures that cannot be decoded, left out: 2`.
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from stockpot.api.conditions import Explained
from stockpot.api.model import Model

MOST_EXAMPLES = 3
LONGEST_EXAMPLE = 100
"""Characters of one example."""


class OmissionReason(Explained):
    """The reason why data is not used exactly as given."""

    CORRUPT_PICTURE = "CorruptPicture", "pictures that cannot be decoded, left out"
    UNLISTED_PICTURE = "UnlistedPicture", "pictures that nothing describes, left out"
    EXTRA_MEMBER = "ExtraMember", "further pictures and captions under a key of a tar, left out"
    UNREAD_FORMAT = "UnreadFormat", "files of a format that is not read, left out"
    UNREAD_ARCHIVE = "UnreadArchive", "archives and tables that are not read, left out"
    HIDDEN_FILE = "HiddenFile", "pictures and captions in hidden files and folders, left out"
    LINK = "Link", "links that are not followed, left out"
    CAPTION_WITHOUT_PICTURE = "CaptionWithoutPicture", "captions of no picture, left out"
    EXCLUDED_COPY = "ExcludedCopy", "copies of pictures in excludeRecords, left out with them"
    EXTRA_FRAMES = "ExtraFrames", "pictures of several frames or pages, of which the first is used"
    COLOUR_PROFILE = "ColourProfile", "pictures whose colour profile is not sRGB and is not applied"
    CUT_CAPTION = "CutCaption", "captions longer than the text encoder reads, cut at their end"
    UNKNOWN_WORDS = "UnknownWords", "captions with words that the text encoder does not know"
    OTHER_FILE = "OtherFile", "files that are neither pictures nor captions"


class Omission(Model):
    """Data that is not used exactly as given, for one reason."""

    reason: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9]*$", max_length=64)]
    """The reason, in one word; `docs/reference/data.md` lists them."""
    count: Annotated[int, Field(ge=1)]
    """Number of files, pictures or captions."""
    examples: tuple[str, ...] = ()
    """Names of up to three of them."""


Omissions = tuple[Omission, ...]
"""At most one of each reason."""


def describe(omissions: Sequence[Omission]) -> str:
    """Format omissions as one line for people, without files that are not data."""
    return "; ".join(
        _describe(omission)
        for omission in omissions
        if omission.reason != OmissionReason.OTHER_FILE
    )


def _describe(omission: Omission) -> str:
    meanings = {str(reason): reason.meaning for reason in OmissionReason}
    # A newer version may know other reasons.
    text = f"{meanings.get(omission.reason, omission.reason)}: {omission.count}"
    if not omission.examples:
        return text
    more = ", …" if omission.count > len(omission.examples) else ""
    return f"{text} ({', '.join(omission.examples)}{more})"
