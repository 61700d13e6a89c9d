"""Scan a data folder, and sort its files by kind from their names. Opens none of them.

Hidden files and folders are never data, nor are those that operating systems add. A link to a
folder is not followed: its target lies in the folder anyway, or belongs to another shard.
"""

import os
import posixpath
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from stockpot.api.omissions import OmissionReason
from stockpot.core.omissions import OmissionCounter, printable
from stockpot.diffusion.record import refuse_data
from stockpot.errors import Transient
from stockpot.store.atomic import explained

METADATA = "metadata.jsonl"
METADATA_NAMES = (METADATA, "metadata.csv", "metadata.parquet")
TARS = frozenset({".tar"})
PICTURES = frozenset(
    ".png .apng .jpg .jpeg .jpe .jfif .webp .gif .bmp .tif .tiff".split()  # noqa: SIM905
)
UNREAD_FORMATS = frozenset(
    # Pictures, then films.
    ".avif .heic .heif .jxl .jp2 .j2k .jpx .svg .svgz .psd .psb .ico .icns .tga .pcx .ppm .pgm "  # noqa: SIM905
    ".pbm .pnm .exr .hdr .dds .raw .cr2 .cr3 .nef .arw .dng .orf .rw2 .raf .eps .xcf .kra .qoi "
    ".fits .dcm .mp4 .m4v .webm .mov .avi .mkv .mpg .mpeg".split()
)
CAPTIONS = frozenset({".txt", ".caption", ".json"})
"""A caption may lie beside its picture, under the same name with one of these suffixes."""
ARCHIVES = frozenset(
    ".gz .tgz .bz2 .tbz .tbz2 .xz .txz .zst .tzst .lz4 .zip .7z .rar .parquet .arrow .feather "  # noqa: SIM905
    ".npz .npy .h5 .hdf5 .tfrecord .lmdb .mdb .beton .mds .lance .pkl .msgpack .csv .tsv .jsonl "
    ".xlsx".split()
)
"""Containers that other loaders read."""
_SYSTEM_FOLDERS = frozenset(
    {"lost+found", "@eadir", "#recycle", "#snapshot", "$recycle.bin", "system volume information"}
)


@dataclass
class FolderScan:
    """The files of a data folder, as POSIX paths inside it, each list sorted."""

    root: Path
    """The folder, with its own links resolved."""
    pictures: list[str] = field(default_factory=list)
    """Pictures of a format that is read, by suffix."""
    unread: list[str] = field(default_factory=list)
    """Pictures and films of other formats."""
    captions: list[str] = field(default_factory=list)
    metadata: list[str] = field(default_factory=list)
    tars: list[str] = field(default_factory=list)
    archives: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    """Hidden files that would be data otherwise."""
    links: list[str] = field(default_factory=list)
    """Links to folders inside, and links to nothing."""
    outside: list[str] = field(default_factory=list)
    """Files that would be data if they were not links out of the folder."""
    links_to_files: set[str] = field(default_factory=set)
    """Links to files inside; each is also in the list of its kind."""
    targets: set[str] = field(default_factory=set)
    """Targets of those links."""


def scan_folder(folder: Path) -> FolderScan:
    """Sort the files of a data folder.

    Raises:
        Refused: (BAD_DATA) There is no such folder; or a folder, a pipe or a link out of the folder
            has a name that only data may have.
        Transient: A folder cannot be read.
    """
    with explained(folder):
        if not folder.is_dir():
            refuse_data(
                f"There is no data folder {folder.name}.", "Look at the source's path or prefix."
            )
        scan = FolderScan(Path(os.path.realpath(folder)))
    _walk(scan, "", is_hidden_here=False)
    for paths in vars(scan).values():
        if isinstance(paths, list):
            paths.sort()
    return scan


def is_hidden(path: str) -> bool:
    """Whether a file is hidden, or lies below a hidden folder."""
    *folders, name = path.split("/")
    return name.startswith(".") or any(_is_hidden_folder(folder) for folder in folders)


def is_picture(path: str) -> bool:
    """Whether its suffix says that it is a picture of a format that is read."""
    return suffix_of(path) in PICTURES


def suffix_of(path: str) -> str:
    """Its last suffix, in small letters; empty where the name begins with its only dot."""
    return posixpath.splitext(path)[1].lower()


def is_text(value: str) -> bool:
    """Whether it has no NUL and encodes to UTF-8: JSON can hold halves of characters."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value


def leads_outside(path: Path, root: Path) -> bool:
    """Whether a path leaves a folder, by `..` or a link. Its target need not exist."""
    return not Path(os.path.realpath(path)).is_relative_to(root)


def refuse_outside(where: str) -> NoReturn:
    """Refuse a path out of the folder: other shards' data may lie there.

    Raises:
        Refused: (BAD_DATA) Always.
    """
    refuse_data(f"{where} is outside of the data folder.", "Put a copy in its place.")


def refuse_no_file(path: Path, where: str) -> None:
    """Refuse a folder or pipe with the name of data: opening a pipe would block forever."""
    with explained(path):
        if path.is_dir():
            refuse_data(f"{where} is a folder.", "Give it another name.")
        if not path.is_file():
            refuse_data(f"{where} is no plain file.", "Give it another name, or copy the file.")


def count_unused(scan: FolderScan, used: frozenset[str], counter: OmissionCounter) -> None:
    """Count the files that are not used.

    Args:
        scan: The folder.
        used: Paths of the files that are used.
        counter: Counts the unused files by reason.

    Raises:
        Refused: (BAD_DATA) A link out of the folder has the name of data.
    """
    for path in scan.outside:
        if path not in used:
            refuse_outside(path)
    for reason, paths in (
        (OmissionReason.UNLISTED_PICTURE, scan.pictures),
        (OmissionReason.UNREAD_FORMAT, scan.unread),
        (OmissionReason.UNREAD_ARCHIVE, scan.archives),
        (OmissionReason.HIDDEN_FILE, scan.hidden),
        (OmissionReason.LINK, scan.links),
        (OmissionReason.OTHER_FILE, scan.others),
    ):
        for path in paths:
            is_target = reason is OmissionReason.HIDDEN_FILE and path in scan.targets
            if path not in used and not is_target:
                counter.add(reason, path)


def _walk(scan: FolderScan, above: str, *, is_hidden_here: bool) -> None:
    folder = scan.root / above
    with explained(folder), os.scandir(folder) as entries:
        listed = list(entries)
    for entry in listed:
        path = f"{above}/{entry.name}" if above else entry.name
        with explained(folder / entry.name):
            if not entry.is_dir(follow_symlinks=False):
                _sort(path, entry, scan, is_hidden_here or entry.name.startswith("."))
                continue
        if is_hidden_here or _is_hidden_folder(entry.name):
            # `lost+found` may be read by root alone, and is not data anyway.
            with suppress(Transient):
                _walk(scan, path, is_hidden_here=True)
            continue
        if entry.name in METADATA_NAMES or suffix_of(entry.name) == ".tar":
            refuse_data(f"{path} is a folder, and has the name of a file.", "Give it another name.")
        _walk(scan, path, is_hidden_here=False)


def _sort(path: str, entry: os.DirEntry[str], scan: FolderScan, is_hidden_file: bool) -> None:
    paths = _list_for(entry.name, scan)
    if is_hidden_file:
        if paths is not scan.others and paths is not scan.archives:
            scan.hidden.append(path)
        return
    if entry.is_symlink():
        paths = _list_for_link(path, entry, scan, paths)
    if paths is scan.metadata or paths is scan.tars:
        refuse_no_file(Path(entry.path), path)
    elif paths is not scan.links and paths is not scan.outside and not entry.is_file():
        paths = scan.others  # A pipe, a socket or a device.
    paths.append(path)


def _list_for(name: str, scan: FolderScan) -> list[str]:
    """Choose the list for a file, by its name."""
    if name in METADATA_NAMES:
        return scan.metadata
    suffix = suffix_of(name)
    for suffixes, paths in (
        (PICTURES, scan.pictures),
        (CAPTIONS, scan.captions),
        (TARS, scan.tars),
        (UNREAD_FORMATS, scan.unread),
        (ARCHIVES, scan.archives),
    ):
        if suffix in suffixes:
            return paths
    return scan.others


def _list_for_link(
    path: str, entry: os.DirEntry[str], scan: FolderScan, by_name: list[str]
) -> list[str]:
    target = Path(entry.path)
    real = Path(os.path.realpath(target))
    if not real.is_relative_to(scan.root):
        if by_name is scan.metadata or by_name is scan.tars:
            refuse_outside(path)
        if by_name is not scan.others or target.is_dir():
            return scan.outside
    if target.is_dir() and by_name is not scan.metadata:
        return scan.links
    # Path.exists() raises where links go round.
    if not os.path.exists(target):
        return scan.links
    scan.links_to_files.add(path)
    scan.targets.add(os.path.relpath(real, scan.root))
    return by_name


def _is_hidden_folder(name: str) -> bool:
    lower = name.lower()
    if name in {".", ".."}:
        return False
    is_special = name.startswith((".", "__")) or lower.startswith("paxheader")
    return is_special or lower in _SYSTEM_FOLDERS


def names(paths: list[str], most: int = 3) -> str:
    """Name the first few files."""
    named = ", ".join(printable(path) for path in paths[:most])
    return named + (f" and {len(paths) - most} more" if len(paths) > most else "")
