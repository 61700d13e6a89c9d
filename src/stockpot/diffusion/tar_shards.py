"""WebDataset tar shards: members that share a key are one record. Nothing is unpacked.

    000.jpg, 000.txt            a key is a member's path up to the first dot of its last part
    000.jpg, 000.txt, 000.json  as img2dataset writes them: the JSON need not have a caption
    000.jpg, 000.seg.png        the picture is the one without a middle part; the other is counted

A member is read where it lies, so a tar must not be compressed. Where a tar says anything twice,
or goes on after its end, it is refused: loaders differ in which part they believe.
"""

import posixpath
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from stockpot.api.omissions import OmissionReason
from stockpot.core.omissions import OmissionCounter
from stockpot.diffusion.captions import CaptionFile, choose_caption
from stockpot.diffusion.folder_scan import (
    CAPTIONS,
    PICTURES,
    UNREAD_FORMATS,
    FolderScan,
    count_unused,
    is_hidden,
    suffix_of,
)
from stockpot.diffusion.record import Record, hash_blocks, refuse_data
from stockpot.errors import StockpotError
from stockpot.store.atomic import explained

_COMPRESSED = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"BZh": ("bzip2", "bunzip2"),
    b"\xfd7zXZ": ("xz", "unxz"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
    b"\x04\x22\x4d\x18": ("lz4", "unlz4"),
}
_DATA = PICTURES | UNREAD_FORMATS | CAPTIONS
_LINKS_FOLLOWED = 8
_BLOCK_BYTES = 1 << 20


class _Member(NamedTuple):
    name: str
    """Its path inside the tar, without `./` before it."""
    offset: int
    size_bytes: int
    link: str = ""
    """The member that it is a link to; empty for a file."""
    is_sparse: bool = False


@dataclass
class _Sample:
    """The members that share a key."""

    pictures: list[_Member] = field(default_factory=list)
    further: list[_Member] = field(default_factory=list)
    """Pictures with a middle part, as `000.seg.png`."""
    unread: list[_Member] = field(default_factory=list)
    captions: list[_Member] = field(default_factory=list)


def read_tar_folder(scan: FolderScan, counter: OmissionCounter) -> list[Record]:
    """Read all tars of a folder.

    Raises:
        Refused: (BAD_DATA) A tar is cut short, compressed or ambiguous, or a record has no caption.
        Transient: A tar cannot be read.
    """
    records = [record for tar in scan.tars for record in _records(tar, scan, counter)]
    count_unused(scan, _side_files(scan), counter)
    # What img2dataset writes beside its tars.
    for path in (*scan.captions, *sorted(_side_files(scan))):
        counter.add(OmissionReason.OTHER_FILE, path)
    return records


def _side_files(scan: FolderScan) -> frozenset[str]:
    stems = {posixpath.splitext(tar)[0] for tar in scan.tars}
    return frozenset(path for path in scan.archives if posixpath.splitext(path)[0] in stems)


def _records(tar: str, scan: FolderScan, counter: OmissionCounter) -> Iterator[Record]:
    path = scan.root / tar
    with explained(path), path.open("rb") as file:
        _refuse_compressed(file.read(8), tar)
        reader = _TarReader(tar, counter)
        reader.read_headers(path)
        _refuse_bad_end(file, reader.ended_at, tar)
        for key, sample in reader.samples.items():
            picture = reader.choose_picture(key, sample)
            if picture is None:
                continue
            where = f"{tar}/{picture.name}"
            captions = [reader.caption_file(member, file) for member in sample.captions]
            caption = choose_caption(where, captions)
            content = reader.content_of(picture)
            file.seek(content.offset)
            digest, size_bytes = hash_blocks(file, content.size_bytes)
            if size_bytes < content.size_bytes:
                refuse_data(f"{where} is cut short.", f"Copy {tar} again.")
            yield Record(where, caption, digest, path, content.offset, size_bytes)


class _TarReader:
    """The members of one tar, from its headers."""

    def __init__(self, tar: str, counter: OmissionCounter) -> None:
        self.tar = tar
        self.counter = counter
        self.samples: dict[str, _Sample] = {}
        self.ended_at = 0
        self._members: dict[str, _Member] = {}

    def read_headers(self, path: Path) -> None:
        """Sort all members by their keys."""
        try:
            # Mode "r:" reads uncompressed archives only: a member can then be read in place.
            with tarfile.open(path, mode="r:") as archive:
                for info in archive:
                    self._add(info)
                self.ended_at = archive.offset
        except (StockpotError, OSError):
            raise
        # On damaged input, the parser raises many kinds of errors.
        except Exception as error:
            refuse_data(
                f"{self.tar} cannot be read as a tar: {error}.", "It was cut short; copy it again."
            )

    def choose_picture(self, key: str, sample: _Sample) -> _Member | None:
        """Find the picture of a key; None where there is none."""
        if sample.further and not sample.pictures:
            first, name = sample.further[0], PurePosixPath(key).name
            refuse_data(
                f"{self.tar}/{first.name} is a picture of the key {name}, which has no picture "
                f"{name}{suffix_of(first.name)}.",
                "A key ends at the first dot of the name: take other dots out of it.",
            )
        candidates, unused = sample.pictures, sample.unread
        if not candidates and sample.captions:
            # What cannot be decoded was still meant to be learnt: the training counts and names it.
            candidates, unused = sample.unread, []
        for member in sample.further:
            self._count(OmissionReason.EXTRA_MEMBER, member)
        for member in unused:
            self._count(OmissionReason.UNREAD_FORMAT, member)
        if not candidates:
            for member in sample.captions:
                is_json = suffix_of(member.name) == ".json"
                reason = OmissionReason.CAPTION_WITHOUT_PICTURE
                self._count(OmissionReason.OTHER_FILE if is_json else reason, member)
            return None
        if len(candidates) > 1:
            first_name, second = sorted(f"{self.tar}/{member.name}" for member in candidates)[:2]
            refuse_data(
                f"{first_name} and {second} are two pictures under one key.",
                "A key ends at the first dot of the name: take other dots out of it, or call what "
                "is not to be learnt 000.mask.png beside 000.jpg.",
            )
        return candidates[0]

    def content_of(self, member: _Member) -> _Member:
        """Follow links to where the bytes lie."""
        target = member
        for _ in range(_LINKS_FOLLOWED):
            if not target.link:
                break
            target = self._members.get(target.link, target)
        if target.link:
            refuse_data(
                f"{self.tar}/{member.name} is a link to {member.link}, which is not in the tar.",
                "Write the tar again with --dereference.",
            )
        if target.is_sparse:
            refuse_data(
                f"{self.tar}/{target.name} is stored with holes, and cannot be read where it lies.",
                "Write the tar again without --sparse.",
            )
        return target

    def caption_file(self, member: _Member, file: BinaryIO) -> CaptionFile:
        """Read a caption out of the tar."""
        content = self.content_of(member)
        file.seek(content.offset)
        data = file.read(content.size_bytes)
        return CaptionFile(f"{self.tar}/{member.name}", suffix_of(member.name), data)

    def _add(self, info: tarfile.TarInfo) -> None:
        member = _member(info)
        if info.isdir():
            return
        key, kinds = _key_and_kinds(member.name)
        is_data = kinds[0] in _DATA or kinds[1] in _DATA
        if is_hidden(member.name):
            if is_data:
                self._count(OmissionReason.HIDDEN_FILE, member)
            return
        is_file = info.isreg() or bool(member.link)
        if is_file and member.name in self._members and is_data:
            refuse_data(
                f"{self.tar} has two members that are called {member.name}.",
                "Write it again: it was appended to.",
            )
        if is_file:
            self._members[member.name] = member
        if not (is_file and is_data and key):
            self._count(OmissionReason.OTHER_FILE, member)
            return
        self._sort(key, kinds, member)

    def _sort(self, key: str, kinds: tuple[str, str], member: _Member) -> None:
        sample = self.samples.setdefault(key, _Sample())
        whole, last = kinds
        if whole in PICTURES:
            sample.pictures.append(member)
        elif whole in UNREAD_FORMATS:
            sample.unread.append(member)
        elif whole in CAPTIONS:
            sample.captions.append(member)
        elif last in PICTURES:
            sample.further.append(member)
        else:
            reason = OmissionReason.OTHER_FILE if last == ".json" else OmissionReason.EXTRA_MEMBER
            self._count(reason, member)

    def _count(self, reason: OmissionReason, member: _Member) -> None:
        self.counter.add(reason, f"{self.tar}/{member.name}")


def _member(info: tarfile.TarInfo) -> _Member:
    name = _clean(info.name)
    link = ""
    if info.islnk():
        link = _clean(info.linkname)
    elif info.issym():
        link = posixpath.normpath(posixpath.join(posixpath.dirname(name), info.linkname))
        link = link if link.startswith("/") else _clean(link)
    return _Member(name, info.offset_data, info.size, link, info.issparse())


def _clean(name: str) -> str:
    """Bring a member's path into one form: `./0.jpg`, `/0.jpg` and `../0.jpg` are all `0.jpg`."""
    # Most names are in that form, and there may be a million.
    return name if "/" not in name else posixpath.normpath(f"/{name}").lstrip("/")


def _key_and_kinds(name: str) -> tuple[str, tuple[str, str]]:
    """Split a path as webdataset does.

    Returns:
        The key, empty where there is none; and the suffix: all of it, and its last part.
    """
    folder, base = posixpath.split(name)
    stem, dot, rest = base.partition(".")
    whole = f".{rest.lower()}"
    key = posixpath.join(folder, stem) if stem and dot else ""
    return key, (whole, suffix_of(base))


def _refuse_compressed(head: bytes, tar: str) -> None:
    for signature, (name, command) in _COMPRESSED.items():
        if head.startswith(signature):
            refuse_data(
                f"{tar} is compressed with {name}, and its members cannot be read where they lie.",
                f"{command} < {tar} > PLAIN.tar",
            )


def _refuse_bad_end(file: BinaryIO, ended_at: int, tar: str) -> None:
    """Refuse a tar without its end, which may have lost members, or with something after it."""
    file.seek(ended_at)
    # An archive that is cut between two members would else just have fewer records.
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        refuse_data(f"{tar} does not end as a tar does.", "It was cut short; copy it again.")
    while block := file.read(_BLOCK_BYTES):
        if block.strip(b"\0"):
            refuse_data(
                f"{tar} goes on after its end: something was appended that no loader reads.",
                "Keep both parts as two files, or join tars with tar --concatenate.",
            )
