"""Pictures in a folder: described by a metadata file, or each by a text file beside it.

    photo.jpg, metadata.jsonl   one line a picture: {"file_name": "photo.jpg", "text": "a dog"}
    photo.jpg, metadata.csv     the same in columns, as pandas writes them
    photo.jpg, photo.txt        the caption alone; also photo.caption, or photo.json with "text"

The first two are Hugging Face's imagefolder. A line's `file_name` begins at the folder of its
metadata file. Where a picture has a line and a text file, both must say the same.
"""

import csv
import errno
import os
import posixpath
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stockpot.api.omissions import OmissionReason
from stockpot.core.omissions import OmissionCounter, printable, shortened
from stockpot.diffusion.captions import (
    CaptionFile,
    caption_in,
    choose_caption,
    clean_caption,
    decode_text,
    parse_line,
    refuse_other_caption,
    refuse_utf16,
)
from stockpot.diffusion.folder_scan import (
    METADATA,
    FolderScan,
    count_unused,
    is_text,
    leads_outside,
    suffix_of,
)
from stockpot.diffusion.record import Record, hash_blocks, refuse_data
from stockpot.store.atomic import explained

_FILE_NAME = "file_name"
Line = tuple[str, Mapping[str, Any]]
"""The place of a line, and its fields."""


def read_metadata_folder(scan: FolderScan, counter: OmissionCounter) -> list[Record]:
    """Read the pictures that metadata files describe.

    Raises:
        Refused: (BAD_DATA) A line cannot be understood, or names a picture that is not there.
        Transient: A file cannot be read.
    """
    beside = _by_stem(scan.captions)
    used, records = set[str](), list[Record]()
    # Files that the scan listed as plain files need no further check.
    plain = {*scan.pictures, *scan.unread} - scan.links_to_files
    for metadata in scan.metadata:
        for where, fields in _lines(metadata, scan):
            record = _described(where, fields, posixpath.dirname(metadata), scan, plain)
            for path in beside.get(_stem(record.name), ()):
                caption = caption_in(_caption_file(path, scan))
                refuse_other_caption(where, record.caption, path, caption or record.caption)
            used.add(record.name)
            if record.name not in plain:
                used.add(os.path.relpath(os.path.realpath(record.file), scan.root))
            records.append(record)
    count_unused(scan, frozenset(used), counter)
    described = {_stem(name) for name in used}
    for path in scan.captions:
        if _stem(path) not in described:
            counter.add(OmissionReason.OTHER_FILE, path)
    return records


def read_captioned_folder(scan: FolderScan, counter: OmissionCounter) -> list[Record]:
    """Read pictures with a caption beside each.

    Raises:
        Refused: (BAD_DATA) A picture has no caption, or two; or two pictures have the same.
        Transient: A file cannot be read.
    """
    beside, unread = _by_stem(scan.captions), _by_stem(scan.unread)
    pictures = _by_stem(scan.pictures)
    # What cannot be decoded was still meant to be learnt: the training counts and names it.
    pictures |= {
        stem: paths for stem, paths in unread.items() if stem in beside and stem not in pictures
    }
    records = []
    for stem, paths in sorted(pictures.items()):
        if len(paths) > 1:
            refuse_data(
                f"{paths[0]} and {paths[1]} are two pictures with one caption.",
                "Remove one of them, or give it a name and a caption of its own.",
            )
        (picture,) = paths
        if not (files := [_caption_file(path, scan) for path in beside.get(stem, ())]):
            missing = sum(1 for other in pictures if other not in beside)
            more = f", and {missing} pictures have none" if missing > 1 else ""
            name = posixpath.basename(stem) + ".txt"
            refuse_data(f"{picture} has no caption{more}.", f"Add {name} beside it.")
        records.append(_record(scan.root / picture, picture, choose_caption(picture, files)))
    count_unused(scan, frozenset(record.name for record in records), counter)
    for path in scan.captions:
        if _stem(path) not in pictures:
            is_json = suffix_of(path) == ".json"
            counter.add(
                OmissionReason.OTHER_FILE if is_json else OmissionReason.CAPTION_WITHOUT_PICTURE,
                path,
            )
    return records


def has_captions(scan: FolderScan) -> bool:
    """Whether any picture has a caption beside it."""
    stems = {_stem(path) for path in (*scan.pictures, *scan.unread)}
    return any(_stem(path) in stems for path in scan.captions)


# -------------------------------------------------------------------------------- metadata


def _lines(metadata: str, scan: FolderScan) -> Iterator[Line]:
    path = scan.root / metadata
    if posixpath.basename(metadata) == METADATA:
        with explained(path), path.open("rb") as file:
            # By lines of bytes: a caption may hold other line separators than this one.
            for number, content in enumerate(file, start=1):
                where = f"{metadata}, line {number}"
                text = decode_text(content, metadata)
                if text.strip():
                    yield where, parse_line(text, where)
        return
    with explained(path), path.open("rb") as file:
        refuse_utf16(file.read(2), metadata)
    with explained(path), path.open(encoding="utf-8-sig", newline="") as text_file:
        rows = csv.reader(text_file, strict=True)
        try:
            yield from _rows(rows, metadata)
        except UnicodeDecodeError as error:
            refuse_data(f"{metadata} is not UTF-8: {error.reason}.", "Save it as UTF-8.")
        except csv.Error as error:
            refuse_data(
                f"{metadata}, line {rows.line_num} is not CSV: {error}.",
                "Save it with commas, and double quotes around what holds a comma or a quote.",
            )


def _rows(rows: Any, metadata: str) -> Iterator[Line]:
    header: list[str] = next(rows, [])
    if len(set(header)) < len(header):
        refuse_data(f"{metadata} has two columns of one name.", "Rename one of them.")
    if header:
        _picture_column(header, f"{metadata}, line 1")
    for row in rows:
        where = f"{metadata}, line {rows.line_num}"
        if len(row) not in {0, len(header)}:
            refuse_data(
                f"{where} has {len(row)} values for {len(header)} columns.",
                "Put double quotes around what holds a comma.",
            )
        if row:
            yield where, dict(zip(header, row, strict=True))


def _picture_column(names: list[str], where: str) -> str:
    if _FILE_NAME in names:
        return _FILE_NAME
    others = [name for name in names if name.endswith("_file_name")]
    if len(others) > 1:
        refuse_data(
            f"{where}: there is no file_name, but {' and '.join(others[:3])}.",
            "Call the picture that is to be learnt file_name.",
        )
    if not others:
        listed = f" It has {', '.join(names[:5])}." if names else ""
        refuse_data(
            f"{where}: there is no file_name.",
            f'Each line needs "file_name" and "text".{shortened(listed)}',
        )
    return others[0]


def _described(
    where: str, fields: Mapping[str, Any], above: str, scan: FolderScan, plain: set[str]
) -> Record:
    column = _picture_column(list(fields), where)
    file_name = fields[column]
    if not isinstance(file_name, str) or not file_name or not is_text(file_name):
        refuse_data(f"{where}: there is no {column}.", 'Each line needs "file_name" and "text".')
    caption = clean_caption(fields.get("text"), where, fields)
    name = posixpath.normpath(posixpath.join(above, file_name))
    is_winding = file_name.startswith("/") or ".." in file_name.split("/")
    if name in plain and not is_winding:
        return _record(scan.root / name, name, caption)
    file = scan.root / above / file_name
    if leads_outside(file, scan.root):
        refuse_data(f"{where}: {file.name} is outside of the data folder.", "Move it inside.")
    if is_winding:
        # Its path inside the folder, whatever links are on the way.
        name = os.path.relpath(os.path.realpath(file), scan.root)
    _refuse_missing(file, where, shortened(printable(file_name)))
    return _record(file, name, caption)


def _refuse_missing(file: Path, where: str, file_name: str) -> None:
    with explained(file):
        try:
            is_folder, is_file = file.is_dir(), file.is_file()
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            is_folder = is_file = False
    if is_folder:
        refuse_data(f"{where}: {file_name} is a folder.", "Name a picture in it.")
    if not is_file:
        refuse_data(f"{where}: there is no picture {file_name}.", "Add it, or remove the line.")


# ------------------------------------------------------------------------------------ files


def _record(file: Path, name: str, caption: str) -> Record:
    with explained(file), file.open("rb") as content:
        picture, size_bytes = hash_blocks(content)
    return Record(name, caption, picture, file, 0, size_bytes)


def _caption_file(path: str, scan: FolderScan) -> CaptionFile:
    file = scan.root / path
    with explained(file):
        return CaptionFile(path, suffix_of(path), file.read_bytes())


def _by_stem(paths: list[str]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        grouped[_stem(path)].append(path)
    return dict(grouped)


def _stem(path: str) -> str:
    return posixpath.splitext(path)[0]
