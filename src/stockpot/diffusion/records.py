"""Read a data folder: pictures with captions, as an imagefolder or as WebDataset tar shards.

    photo.jpg, metadata.jsonl   one line a picture: {"file_name": "photo.jpg", "text": "a dog"}
    photo.jpg, photo.txt        a caption beside each picture
    *.tar                       members 000.jpg and 000.txt (or 000.json with "text") side by side

All forms, and what is left out and refused, stand in docs/reference/data.md. We read them
ourselves: a loader that keeps its own cache of the data would leave a copy that no unlearning knows
of, and one that unpacks archives would follow the paths inside them. Nothing is written here,
nothing is unpacked, and no picture is held in memory before it is asked for.

A record's digest covers the picture's bytes and its caption, and neither name nor container, so
the same records in a folder and in a tar are the same data.
"""

import posixpath
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NoReturn

from stockpot.api.omissions import OmissionReason, Omissions
from stockpot.core.omissions import OmissionCounter
from stockpot.diffusion.folder_scan import (
    METADATA,
    FolderScan,
    is_text,
    names,
    refuse_outside,
    scan_folder,
)
from stockpot.diffusion.image_folder import (
    has_captions,
    read_captioned_folder,
    read_metadata_folder,
)
from stockpot.diffusion.record import CorruptPicture as CorruptPicture  # noqa: PLC0414
from stockpot.diffusion.record import Record as Record  # noqa: PLC0414
from stockpot.diffusion.record import refuse_data
from stockpot.diffusion.tar_shards import read_tar_folder
from stockpot.store.record_list import normal_name, remaining

_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
"""Words in names by which Hugging Face's loaders keep files apart."""
_BETWEEN_WORDS = re.compile(r"[-._ 0-9]+")


@dataclass(frozen=True)
class DataFolder:
    """The records of a data folder."""

    records: list[Record]
    """Sorted by digest, not by their order on disk."""
    omissions: Omissions = ()
    """Files and records that are not used, by reason."""


def list_records(folder: Path) -> list[Record]:
    """Find all records of a data folder, in order of digest.

    Raises:
        Refused: (BAD_DATA) As `read_folder`.
        Transient: A file cannot be read.
    """
    return read_folder(folder).records


def read_folder(folder: Path) -> DataFolder:
    """Find all records of a data folder, and count what is left out. Reads every byte once.

    Raises:
        Refused: (BAD_DATA) The folder is missing or empty, or something in it cannot be
            understood; the message names file and line.
        Transient: A file cannot be read.
    """
    scan, counter = scan_folder(folder), OmissionCounter()
    _refuse_two_forms(scan)
    if scan.metadata:
        records = read_metadata_folder(scan, counter)
    elif scan.tars:
        records = read_tar_folder(scan, counter)
    elif has_captions(scan):
        records = read_captioned_folder(scan, counter)
    else:
        _refuse_nothing(scan)
    if not records:
        where = (scan.metadata or scan.tars)[0]
        refuse_data(f"The data has no records: {where} names none.", "Add pictures with captions.")
    for record in records:
        if not is_text(record.name):
            refuse_data(f"{record.name} has a name that is not UTF-8.", "Rename it.")
    _refuse_two_splits(record.name for record in records)
    return DataFolder(sorted(records, key=lambda record: record.digest), counter.omissions())


def without(records: Sequence[Record], names: Collection[str]) -> list[Record]:
    """Leave out records, by name or by digest, in the order that they come in.

    Raises:
        Refused: (BAD_DATA) As `exclude`.
    """
    return exclude(records, names).records


def exclude(
    records: Sequence[Record], names: Collection[str], *, may_be_missing: Collection[str] = ()
) -> DataFolder:
    """Leave out records by name or by digest, with all copies of them, and count the copies.

    A copy is a record with the same picture, whatever its name and caption.

    Args:
        records: All records of a shard.
        names: Paths inside the data folder, digests of pictures' files, or digests of records.
        may_be_missing: Those of them that need not be there.

    Raises:
        Refused: (BAD_DATA) One of them is not there, so that nothing was left out by its name; or
            no record is left.
    """
    if not names:
        return DataFolder(list(records))
    wanted = {normal_name(name) for name in names}
    chosen = {record.name for record in records if record.names & wanted}
    known = {name for record in records for name in record.names}
    if unknown := sorted(wanted - known - {normal_name(name) for name in may_be_missing}):
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        refuse_data(
            f"No record of the data is called {', '.join(unknown[:3])}{more}.",
            "Name records in excludeRecords by their path inside the data folder, or by digest.",
        )
    left = remaining(records, wanted)
    if not left:
        refuse_data("excludeRecords leaves no record.", "Delete the DataShard: that unlearns all.")
    counter, kept = OmissionCounter(), {record.name for record in left}
    for record in records:
        if record.name not in kept | chosen:
            counter.add(OmissionReason.EXCLUDED_COPY, record.name)
    return DataFolder(left, counter.omissions())


def _refuse_two_forms(scan: FolderScan) -> None:
    if scan.metadata and scan.tars:
        refuse_data(
            f"The data has both {scan.metadata[0]} and {scan.tars[0]}.",
            f"Keep either pictures beside a {METADATA}, or tar shards.",
        )
    if scan.tars and has_captions(scan):
        refuse_data(
            f"The data has both {scan.tars[0]} and captions beside pictures.",
            "Keep either pictures with captions, or tar shards.",
        )
    forms = {posixpath.basename(path): path for path in reversed(scan.metadata)}
    if "metadata.parquet" in forms:
        refuse_data(
            f"{forms['metadata.parquet']} is not read.",
            f"Save it as {METADATA}: pandas.read_parquet(…).to_json({METADATA!r}, "
            "orient='records', lines=True)",
        )
    if len(forms) > 1:
        refuse_data(
            f"The data has both {' and '.join(sorted(forms.values()))}.", "Keep one of them."
        )


def _refuse_nothing(scan: FolderScan) -> NoReturn:
    """Refuse a folder without records, and say what is there instead."""
    if scan.outside:
        refuse_outside(scan.outside[0])
    if scan.pictures:
        first = scan.pictures[0]
        classes = sorted({posixpath.dirname(path) for path in scan.pictures} - {""})
        folders = f" The names of folders ({names(classes)}) are no captions." if classes else ""
        refuse_data(
            f"The data has pictures, as {first}, and no {METADATA}.",
            f'Write a {METADATA} beside them: {{"file_name": "{posixpath.basename(first)}", '
            f'"text": "…"}}; or each caption into a .txt beside its picture.{folders}',
        )
    advice = f"Put pictures beside a {METADATA}, or tar shards, there."
    for paths, what, help_text in (
        (scan.archives, "is not read", "Unpack or convert it (gunzip, unzip). "),
        (scan.unread, "is of a format that is not read", "Convert it to PNG or JPEG. "),
        (scan.captions, "has no picture beside it", ""),
        (scan.hidden, "is hidden", ""),
        (scan.links, "is a link that is not followed", ""),
        (scan.others, "is no picture", ""),
    ):
        if paths:
            refuse_data(
                f"The data has no pictures with captions: {names(paths)} {what}.",
                help_text + advice,
            )
    refuse_data("The data is empty.", advice)


def _refuse_two_splits(record_names: Iterable[str]) -> None:
    """Refuse data with folders or names of several splits, which loaders keep apart."""
    by_folder: dict[str, str] = {}
    by_name: dict[str, str] = {}
    for name in record_names:
        *folders, base = name.split("/")
        split = next((split for folder in folders if (split := _split_of(folder))), "")
        by_folder.setdefault(split, name)
        first_word = _BETWEEN_WORDS.split(base.lower(), maxsplit=1)[0]
        by_name.setdefault(_SPLITS.get(first_word, ""), name)
    # A single picture may be called `test tube.png`; where all have such names, they are splits.
    for splits in (by_folder, {} if "" in by_name else by_name):
        if len(splits) > 1 and splits.keys() & {"validation", "test"}:
            first, second = sorted(splits.values())[:2]
            refuse_data(
                f"The data has {first} and {second}, which loaders keep apart as splits.",
                "Name the folder of one split in the source, or rename what is no split.",
            )


@lru_cache
def _split_of(folder: str) -> str:
    words = _BETWEEN_WORDS.split(folder.lower())
    return next((_SPLITS[word] for word in words if word in _SPLITS), "")
