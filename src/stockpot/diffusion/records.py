"""Read a data folder: pictures with captions, as an imagefolder or as WebDataset tar shards.

    photo.jpg, metadata.jsonl   one line a picture: {"file_name": "photo.jpg", "text": "a dog"}
    *.tar                       members 000.jpg and 000.txt (or 000.json with "text") side by side

We read both ourselves. A loader that keeps its own cache of the data would leave a copy that no
unlearning knows of, and one that unpacks archives would follow the paths inside them. Nothing is
written here, nothing is unpacked, and no picture is held in memory before it is asked for.

A record's digest covers the picture's bytes and its caption, and neither name nor container, so
the same records in a folder and in a tar are the same data.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from PIL import Image, ImageOps

from stockpot.core.digests import PREFIX, Digest, digest_of_json
from stockpot.errors import ExitCode, Refused

METADATA = "metadata.jsonl"
PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""What Pillow may decode: its other formats are rare in data sets and common in attacks."""


class CorruptPicture(Exception):
    """A picture that cannot be decoded. The message names it."""


@dataclass(frozen=True)
class Record:
    """One picture and its caption, and where the picture's bytes lie."""

    name: str
    """Of the picture inside the data folder, for messages; `shard.tar/000.jpg` in a tar."""
    caption: str
    picture: Digest
    """Of the picture's bytes."""
    file: Path
    offset: int
    size_bytes: int

    @property
    def digest(self) -> Digest:
        """Names picture and caption together."""
        return digest_of_json("record/1", {"caption": self.caption, "picture": self.picture})

    def read(self) -> bytes:
        """Read the picture's bytes, the same that were seen when the folder was listed.

        Raises:
            Refused: (WRONG_DIGEST) They have changed since.
        """
        with self.file.open("rb") as file:
            file.seek(self.offset)
            data = file.read(self.size_bytes)
        if _sha256(data) != self.picture:
            raise Refused(
                f"{self.name} has changed while it was being read.",
                help="Do not write to a data folder while it is in use.",
                exit_code=ExitCode.WRONG_DIGEST,
            )
        return data

    def decode(self) -> Image.Image:
        """Read and decode the picture: upright, in RGB, what is transparent laid on white.

        Raises:
            CorruptPicture: The bytes are no picture of a kind that we read.
            Refused: They have changed since the folder was listed.
        """
        data = self.read()
        try:
            with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
                return _on_white(ImageOps.exif_transpose(picture))
        # A decoder that is fed with noise raises whatever its parser stumbled over.
        except Exception as error:
            said = str(error).partition(" <")[0] or type(error).__name__
            raise CorruptPicture(f"{self.name} ({said})") from error


def list_records(folder: Path) -> list[Record]:
    """Find all records of a data folder, in order of digest, whatever their order on disk.

    Reads every byte once, for the digests. Pictures that no line names are left out.

    Raises:
        Refused: (BAD_DATA) The folder is missing or empty, or something in it cannot be
            understood; the message names file and line.
    """
    if not folder.is_dir():
        _refuse(f"There is no data folder {folder.name}.", "Look at the source's path or prefix.")
    described = sorted(folder.rglob(METADATA))
    tars = sorted(folder.rglob("*.tar"))
    if described and tars:
        _refuse(
            f"The data has both {_name(described[0], folder)} and {_name(tars[0], folder)}.",
            f"Keep either pictures beside a {METADATA}, or tar shards.",
        )
    if not described and not tars:
        lone = next((file for file in sorted(folder.rglob("*")) if _is_picture(file.name)), None)
        if lone:
            _refuse(
                f"The data has pictures, as {_name(lone, folder)}, and no {METADATA}.",
                f'Write a {METADATA} beside them: {{"file_name": "{lone.name}", "text": "…"}}',
            )
        _refuse("The data is empty.", f"Put pictures beside a {METADATA}, or tar shards, there.")
    found = [record for file in described for record in _from_metadata(file, folder)]
    found += [record for file in tars for record in _from_tar(file, folder)]
    if not found:
        where = _name((described or tars)[0], folder)
        _refuse(f"The data has no records: {where} names none.", "Add pictures with captions.")
    return sorted(found, key=lambda record: record.digest)


def without(records: Sequence[Record], names: Collection[str]) -> list[Record]:
    """Leave out records, by name or by digest, in the order that they come in.

    Raises:
        Refused: (BAD_DATA) One of them is not there, so that nothing was left out by its name; or
            no record is left.
    """
    known = {name for record in records for name in (record.name, record.digest)}
    if unknown := sorted(set(names) - known):
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        _refuse(
            f"No record of the data is called {', '.join(unknown[:3])}{more}.",
            "Name records in excludeRecords by their path inside the data folder, or by digest.",
        )
    left = [one for one in records if not {one.name, one.digest} & set(names)]
    if not left:
        _refuse("excludeRecords leaves no record.", "Delete the DataShard: that unlearns all.")
    return left


def _from_metadata(metadata: Path, folder: Path) -> Iterator[Record]:
    try:
        # Not splitlines(): a caption may hold other line separators than this one.
        lines = metadata.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        _refuse(f"{_name(metadata, folder)} is not UTF-8: {error.reason}.", "Save it as UTF-8.")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{_name(metadata, folder)}, line {number}"
        fields = _fields(line, where)
        file_name = fields.get("file_name")
        if not isinstance(file_name, str) or not file_name or not _is_text(file_name):
            _refuse(f"{where}: there is no file_name.", 'Each line needs "file_name" and "text".')
        caption = _caption(fields, where)
        file = metadata.parent / file_name
        _refuse_outside(file, folder, where)
        if not file.is_file():
            _refuse(f"{where}: there is no picture {file_name}.", "Add it, or remove the line.")
        data = file.read_bytes()
        yield Record(_name(file, folder), caption, _sha256(data), file, 0, len(data))


def _from_tar(path: Path, folder: Path) -> Iterator[Record]:
    """Pair the members of a tar by their names up to the first dot of the last part."""
    pictures: dict[str, tuple[str, int, int]] = {}
    captions: dict[str, str] = {}
    name = _name(path, folder)
    _refuse_outside(path, folder, name)
    try:
        # Mode "r:" reads uncompressed archives only: a member can then be read in place.
        with tarfile.open(path, mode="r:") as tar:
            for member in tar:
                # Links and devices are not data; a link could name what is not in this shard.
                if not member.isfile():
                    continue
                key, kind = _key_and_kind(member.name)
                where = f"{name}/{member.name}"
                if _is_picture(member.name):
                    pictures[key] = (where, member.offset_data, member.size)
                elif kind in {"txt", "json"}:
                    content = tar.extractfile(member)
                    captions[key] = _tar_caption(content.read() if content else b"", kind, where)
            ended_at = tar.offset
    except (tarfile.TarError, EOFError) as error:
        _refuse(f"{name} cannot be read as a tar: {error}.", "It was cut short; copy it again.")
    with path.open("rb") as file:
        # An archive that is cut between two members would else just have fewer records.
        file.seek(ended_at)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            _refuse(f"{name} does not end as a tar does.", "It was cut short; copy it again.")
        for key, (where, offset, size_bytes) in pictures.items():
            if key not in captions:
                _refuse(f"{where} has no caption.", f"Add {PurePosixPath(key).name}.txt beside it.")
            file.seek(offset)
            data = file.read(size_bytes)
            if len(data) < size_bytes:
                _refuse(f"{where} is cut short.", f"Copy {name} again.")
            yield Record(where, captions[key], _sha256(data), path, offset, size_bytes)


def _tar_caption(content: bytes, kind: str, where: str) -> str:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        _refuse(f"{where} is not UTF-8: {error.reason}.", "Save it as UTF-8.")
    return _caption({"text": text} if kind == "txt" else _fields(text, where), where)


def _fields(text: str, where: str) -> Mapping[str, Any]:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        _refuse(f"{where} is not JSON: {error}.", 'Write {"file_name": "…", "text": "…"}.')
    if not isinstance(fields, dict):
        _refuse(f"{where} is not a JSON object.", 'Write {"file_name": "…", "text": "…"}.')
    return fields


def _caption(fields: Mapping[str, Any], where: str) -> str:
    caption = fields.get("text")
    if not isinstance(caption, str) or not caption.strip():
        _refuse(f"{where}: there is no caption.", 'Say in "text" what the picture shows.')
    if not _is_text(caption):
        _refuse(f"{where}: the caption holds half a character.", "Write it in UTF-8.")
    return caption.strip()


def _on_white(picture: Image.Image) -> Image.Image:
    if picture.mode in {"RGBA", "LA", "PA"} or "transparency" in picture.info:
        seen = picture.convert("RGBA")
        white = Image.new("RGBA", seen.size, "white")
        return Image.alpha_composite(white, seen).convert("RGB")
    return picture.convert("RGB")


def _key_and_kind(name: str) -> tuple[str, str]:
    path = PurePosixPath(name)
    stem, _, kind = path.name.partition(".")
    return str(path.parent / stem), kind.lower()


def _is_text(value: str) -> bool:
    """Whether it can be a name or be digested: JSON can also say halves of characters, and NUL."""
    return "\0" not in value and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _refuse_outside(file: Path, folder: Path, where: str) -> None:
    """Refuse a way out of the folder, by `..` or a link: other shards' data may lie there."""
    if not file.resolve().is_relative_to(folder.resolve()):
        _refuse(f"{where}: {file.name} is outside of the data folder.", "Move it inside.")


def _is_picture(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in PICTURES


def _name(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix()


def _sha256(data: bytes) -> Digest:
    return Digest(PREFIX + hashlib.sha256(data).hexdigest())


def _refuse(message: str, advice: str) -> NoReturn:
    raise Refused(message, help=advice, exit_code=ExitCode.BAD_DATA)
