"""Read captions: out of text files, JSON files and lines of metadata. Nothing is guessed.

A picture may have its caption in several files beside it, as long as they say the same.
"""

import codecs
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from stockpot.diffusion.folder_scan import is_text
from stockpot.diffusion.record import refuse_data

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_READ_KEYS = ("file_name", "text")
_LINE = 'Write {"file_name": "…", "text": "…"}.'


@dataclass(frozen=True)
class CaptionFile:
    """A file that may hold a picture's caption."""

    where: str
    """Its path inside the data folder."""
    suffix: str
    """`.txt`, `.caption` or `.json`."""
    content: bytes


def choose_caption(picture: str, files: Sequence[CaptionFile]) -> str:
    """Find the one caption of a picture; the order of files does not matter.

    Args:
        picture: Its path inside the data folder.
        files: The files beside it that may hold its caption.

    Raises:
        Refused: (BAD_DATA) There is none, or there are two that differ; or a file cannot be read as
            what its suffix says.
    """
    captions = {
        file.where: caption
        for file in sorted(files, key=lambda file: file.where)
        if (caption := caption_in(file)) is not None
    }
    if not captions:
        beside = ", or ".join(
            f'"text" to {PurePosixPath(file.where).name}'
            for file in files
            if file.suffix == ".json"
        )
        name = f"{PurePosixPath(picture).name.partition('.')[0]}.txt"
        refuse_data(
            f"{picture} has no caption.", f"Add {name} beside it{beside and f', or {beside}'}."
        )
    where, caption = next(iter(captions.items()))
    for other, text in captions.items():
        refuse_other_caption(where, caption, other, text)
    return caption


def refuse_other_caption(where: str, caption: str, other: str, text: str) -> None:
    """Refuse two captions of one picture that differ.

    Raises:
        Refused: (BAD_DATA) They differ.
    """
    if caption != text:
        refuse_data(
            f"{where} and {other} have different captions for the same picture.",
            "Remove one of them, or let them say the same.",
        )


def caption_in(file: CaptionFile) -> str | None:
    """Read a caption; None where a JSON file has none, which may serve another purpose.

    Raises:
        Refused: (BAD_DATA) It cannot be read as what its suffix says.
    """
    text = decode_text(file.content, file.where)
    if file.suffix != ".json":
        return clean_caption(text, file.where)
    fields = _parse(text, file.where)
    caption = fields.get("text") if isinstance(fields, dict) else None
    if caption is None or caption == "":
        return None
    if not isinstance(caption, str):
        refuse_data(f"{file.where}: text is no string.", "Write one caption, in quotes.")
    return clean_caption(caption, file.where)


def clean_caption(caption: object, where: str, fields: Mapping[str, Any] | None = None) -> str:
    """Return a caption without the white space around it.

    Raises:
        Refused: (BAD_DATA) It is missing, empty, or no text.
    """
    if not isinstance(caption, str) or not caption.strip():
        others = [name for name in fields or {} if name not in {"file_name", "text"} and name]
        advice = 'Say in "text" what the picture shows.'
        if caption is None and others:
            advice = f'{advice} There is {", ".join(others[:5])}: rename the caption to "text".'
        refuse_data(f"{where}: there is no caption.", advice)
    if not is_text(caption):
        what = "a NUL" if "\0" in caption else "half a character"
        refuse_data(f"{where}: the caption holds {what}.", "Write it in UTF-8.")
    return caption.strip()


def refuse_utf16(content: bytes, where: str) -> None:
    """Refuse text with a byte order mark of UTF-16.

    Raises:
        Refused: (BAD_DATA) It has one.
    """
    if content.startswith(_UTF_16):
        refuse_data(f"{where} is not UTF-8: it is UTF-16.", "Save it as UTF-8.")


def decode_text(content: bytes, where: str) -> str:
    """Decode UTF-8, with or without a byte order mark.

    Raises:
        Refused: (BAD_DATA) It is not UTF-8.
    """
    refuse_utf16(content, where)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        refuse_data(f"{where} is not UTF-8: {error.reason}.", "Save it as UTF-8.")


def parse_line(text: str, where: str) -> Mapping[str, Any]:
    """Read a line of a metadata.jsonl.

    Raises:
        Refused: (BAD_DATA) It is no JSON object, or has a key twice.
    """
    fields = _parse(text, where)
    if not isinstance(fields, dict):
        refuse_data(f"{where} is not a JSON object.", _LINE)
    return fields


def _parse(text: str, where: str) -> Any:
    def fields_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        # JSON allows it, and readers take the last.
        for key in _READ_KEYS:
            if sum(1 for name, _ in pairs if name == key) > 1:
                raise ValueError(f"{key} is there twice")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=fields_of)
    except (ValueError, RecursionError) as error:
        refuse_data(f"{where} is not JSON: {error}.", _LINE)
