"""Read objects: users' manifests strictly, stored objects leniently.

An unknown field in a manifest is a mistake, and all mistakes are reported together with their
lines. A note names what is valid but not used: objects of other APIs, files that are not manifests,
fields that the API server writes. A stored object may come from a newer version: its unknown
fields are ignored.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from stockpot.api import complaints
from stockpot.api.complaints import Complaint
from stockpot.api.documents import Document, NotYaml, documents
from stockpot.api.metadata import metadata_complaints, server_complaints
from stockpot.api.options import Installed
from stockpot.api.rules import broken_rules
from stockpot.api.soups import soup_complaints
from stockpot.api.v1alpha1 import (
    API_VERSION,
    KINDS,
    MAX_NAME,
    AnyObject,
    DataShard,
    Soup,
)
from stockpot.errors import ExitCode, Refused

BY_USERS: dict[str, type[DataShard] | type[Soup]] = {"DataShard": DataShard, "Soup": Soup}
BY_KIND = {kind.__name__: kind for kind in KINDS}

SUFFIXES = frozenset({".yaml", ".yml", ".json"})
STANDARD_INPUT = Path("-")

# The server sets these. Files that were exported with kubectl have them; they are not part of what
# a user asks for.
OF_THE_SERVER = frozenset(
    {
        "uid",
        "generation",
        "resourceVersion",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "managedFields",
        "ownerReferences",
        "selfLink",
    }
)


@dataclass(frozen=True)
class ParsedManifest:
    """An object, with its place in a file."""

    object: DataShard | Soup
    document: Document

    def place(self, *path: str | int) -> str:
        """Return file and line of a field."""
        return self.document.place(path)


@dataclass(frozen=True)
class Manifests:
    """The objects of files, with complaints and notes."""

    manifests: tuple[ParsedManifest, ...] = ()
    """Objects whose fields have the right types; complaints may be about them."""
    complaints: tuple[Complaint, ...] = ()
    notes: tuple[Complaint, ...] = ()
    """Names what is valid but not used."""
    files: int = 0

    @property
    def objects(self) -> tuple[DataShard | Soup, ...]:
        """The objects alone."""
        return tuple(manifest.object for manifest in self.manifests)

    def __add__(self, other: "Manifests") -> "Manifests":
        return Manifests(
            self.manifests + other.manifests,
            self.complaints + other.complaints,
            self.notes + other.notes,
            self.files + other.files,
        )

    def checked(self) -> tuple[DataShard | Soup, ...]:
        """Return the objects, if there are no complaints.

        Raises:
            Refused: There are complaints; the message has all of them.
        """
        refuse(self.complaints)
        return self.objects


def refuse(mistakes: Iterable[Complaint], exit_code: ExitCode = ExitCode.INVALID) -> None:
    """Raise an error with all complaints, if there are any.

    Raises:
        Refused: There is a complaint; the message has all of them.
    """
    all_mistakes = tuple(mistakes)
    if not all_mistakes:
        return
    if len(all_mistakes) == 1:
        [complaint] = all_mistakes
        message = str(replace(complaint, help=""))
        raise Refused(message, help=complaint.help, exit_code=exit_code)
    lines = "\n  ".join(map(str, all_mistakes))
    raise Refused(f"{len(all_mistakes)} mistakes\n  {lines}", exit_code=exit_code)


def read_file(path: Path) -> tuple[DataShard | Soup, ...]:
    """Read the objects of a file, or of all manifests in a folder, strictly.

    Raises:
        Refused: There are mistakes; the message has all of them, with file and line.
    """
    return read_paths([path]).checked()


def read_paths(paths: Iterable[Path], installed: Installed | None = None) -> Manifests:
    """Read files and folders (not the folders within), strictly, and collect complaints.

    Args:
        paths: Files, folders, and `-` for the standard input.
        installed: Plugins; None leaves names of methods and the like unchecked.
    """
    read, names, paths = Manifests(), set[Path](), tuple(paths)
    for path in paths:
        files, about = _files(path)
        read += about
        for file in files:
            if file.absolute() in names:
                note = Complaint("it is named twice, and read once", place=str(file))
                read += Manifests(notes=(note,))
                continue
            names.add(file.absolute())
            read += _read_file(file, installed)
    if paths and not read.manifests and not read.complaints:
        places = ", ".join(map(str, paths))
        nothing = Complaint("there is no DataShard and no Soup in it", place=places)
        return replace(read, complaints=(nothing,))
    return replace(read, complaints=(*read.complaints, *_twice(read.manifests)))


def read_strict(value: Mapping[str, Any]) -> DataShard | Soup:
    """Read an object that a user wrote.

    Raises:
        Refused: There are mistakes; the message has all of them.
    """
    return read_document(Document(value)).checked()[0]


def read_lenient(value: Mapping[str, Any]) -> AnyObject:
    """Read a stored object of any kind; unknown fields are ignored.

    Raises:
        Refused: The kind is not one of Stockpot's, or a known field is invalid.
    """
    kind = BY_KIND.get(str(value.get("kind")))
    if kind is None or value.get("apiVersion") != API_VERSION:
        raise Refused(f"{_identity(value)} is not of a kind that this version knows")
    try:
        return kind.model_validate(value, extra="ignore")
    except ValidationError as error:
        wrong = "; ".join(map(str, complaints.complaints_of(error, kind, lambda _: None)))
        raise Refused(f"{_identity(value)} cannot be understood: {wrong}") from error


def read_text(text: str, name: str, installed: Installed | None = None) -> Manifests:
    """Read the YAML or JSON documents of one file, strictly.

    Args:
        text: The content of the file.
        name: The name of the file, for complaints.
        installed: Plugins; None leaves names of methods and the like unchecked.
    """
    read = Manifests(files=1)
    try:
        for document in documents(text, name):
            read += read_document(document, installed)
    except NotYaml as error:
        return read + Manifests(complaints=(Complaint(str(error), place=error.place),))
    if read == Manifests(files=1):
        nothing = Complaint("there is no object in it", place=name)
        return Manifests(complaints=(nothing,), files=1)
    return read


def read_document(document: Document, installed: Installed | None = None) -> Manifests:
    """Read an object, strictly."""
    value = document.value
    if document.repeated:
        return Manifests(complaints=document.repeated)
    if _is_of_others(value):
        what = " ".join(filter(None, (value["kind"], _name_of(value))))
        note = Complaint(f"{what} is not Stockpot's, and is left aside", place=document.place(()))
        return Manifests(notes=(note,))
    kind, wrong = _kind_of(value)
    if kind is None:
        return _complain(document, wrong)
    try:
        # As JSON, because that is what the API server reads: there, "5" is no number. By the names
        # that users write alone: max_train_steps is unknown there.
        text = json.dumps(_user_part(value))
        read = kind.model_validate_json(text, strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        wrong = complaints.complaints_of(error, kind, document.written)
        return _complain(document, [*wrong, *_read_back(value, kind)])
    # Checks across objects need an object with mistakes too: all are reported together.
    wrong = [*_checked(read, installed), *_read_back(value, kind)]
    result = Manifests((ParsedManifest(read, document),), notes=tuple(_left_aside(document)))
    return result + _complain(document, wrong)


def _checked(read: DataShard | Soup, installed: Installed | None) -> Iterator[Complaint]:
    """Yield the mistakes in an object whose fields have the right types."""
    if len(name := read.metadata.name) > MAX_NAME:
        yield Complaint(
            f"metadata.name is {name}",
            ("metadata", "name"),
            help=f"write at most {MAX_NAME} letters; it has {len(name)}",
        )
    yield from metadata_complaints(read.metadata)
    yield from broken_rules(read.spec, ("spec",))
    if isinstance(read, Soup) and installed is not None:
        yield from soup_complaints(read.spec, installed)


def _user_part(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object without the fields that the API server sets."""
    written = {key: part for key, part in value.items() if key != "status"}
    if isinstance(written.get("metadata"), dict):
        metadata = written["metadata"].items()
        written["metadata"] = {key: part for key, part in metadata if key not in OF_THE_SERVER}
    return written


def _read_back(value: Mapping[str, Any], kind: type[DataShard] | type[Soup]) -> Iterator[Complaint]:
    """Yield the mistakes in fields that the API server sets, if a user's file has them."""
    if isinstance(value.get("metadata"), dict):
        yield from server_complaints(value["metadata"])
    status, model = value.get("status"), kind.model_fields["status"].annotation
    if not isinstance(status, dict):
        return  # The API server drops a status of any type.
    assert isinstance(model, type)
    assert issubclass(model, BaseModel)
    try:
        model.model_validate_json(json.dumps(status))
    except ValidationError as error:
        for complaint in complaints.complaints_of(error, model, lambda _: None):
            if complaint.message.startswith("unknown field "):
                message = complaint.message.replace("unknown field ", "unknown field status.", 1)
                yield replace(complaint, message=message).below("status")


def _left_aside(document: Document) -> Iterator[Complaint]:
    """Yield a note about the fields of a file that are not used."""
    metadata = document.value.get("metadata")
    written = [f"metadata.{key}" for key in sorted(OF_THE_SERVER & set(metadata))]
    if "status" in document.value:
        written.append("status")
    if written:
        yield Complaint(
            f"{_identity(document.value)}: {', '.join(written)} is what the API server wrote, "
            "and is left aside",
            place=document.place(("metadata",)),
        )


def _complain(document: Document, wrong: Iterable[Complaint]) -> Manifests:
    in_order = sorted(wrong, key=lambda complaint: document.line(complaint.path))
    placed = (replace(complaint, place=document.place(complaint.path)) for complaint in in_order)
    return Manifests(complaints=tuple(placed))


def _is_of_others(value: Any) -> bool:
    """Return whether an object is of another API group, and unlike a misspelt kind of Stockpot."""
    if not isinstance(value, Mapping):
        return False
    version, kind = value.get("apiVersion"), value.get("kind")
    if not (isinstance(version, str) and isinstance(kind, str) and version and kind):
        return False
    group = version.rpartition("/")[0]
    known = [name.lower() for name in BY_KIND]
    return "stockpot" not in group.lower() and not complaints.nearest(kind.lower(), known, 0.75)


def _kind_of(value: Any) -> tuple[type[DataShard] | type[Soup] | None, list[Complaint]]:
    if not isinstance(value, Mapping):
        return None, [Complaint("this is no object", help="write apiVersion, kind, metadata, spec")]
    version = value.get("apiVersion")
    if version != API_VERSION:
        message = (
            f"apiVersion is {complaints.clip(str(version))}" if version else "apiVersion is missing"
        )
        hint = f"this version reads apiVersion: {API_VERSION}"
        return None, [Complaint(message, ("apiVersion",), help=hint)]
    name = value.get("kind")
    if isinstance(name, str) and name in BY_USERS:
        return BY_USERS[name], []
    message = f"kind is {complaints.clip(str(name))}" if name else "kind is missing"
    hint = f"write kind: {' or kind: '.join(BY_USERS)}"
    if isinstance(name, str) and name in BY_KIND:
        hint = "Stockpot writes these itself"
    elif isinstance(name, str) and name.endswith("List"):
        hint = "a list has objects below `items:`"
    return None, [Complaint(message, ("kind",), help=hint)]


def _identity(value: Mapping[str, Any]) -> str:
    return f"{value.get('kind') or 'an object without kind'} {_name_of(value) or 'without name'}"


def _name_of(value: Mapping[str, Any]) -> str:
    metadata = value.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    return str(name) if name else ""


def _files(path: Path) -> tuple[list[Path], Manifests]:
    """List the manifests of a folder, with notes about its other files."""
    try:
        if path == STANDARD_INPUT or not path.is_dir():
            return [path], Manifests()
        inside = sorted(path.iterdir())
        folders = [file for file in inside if file.is_dir()]
    except OSError as error:
        wrong = Complaint(f"cannot be read: {error.strerror}", place=str(path))
        return [], Manifests(complaints=(wrong,))
    files = [file for file in inside if file.suffix in SUFFIXES and file not in folders]
    if not files:
        wrong = Complaint(
            f"there is no .yaml file in {path}",
            help="folders within a folder are not looked into: name them too",
        )
        return [], Manifests(complaints=(wrong,))
    others = [file for file in inside if file not in files and file not in folders]
    why = f"only {', '.join(sorted(SUFFIXES))} are"
    notes = [_not_read(path, "file", others, why)] if others else []
    if folders:
        notes.append(_not_read(path, "folder", folders, "name it too if its manifests are meant"))
    return files, Manifests(notes=tuple(notes))


def _not_read(path: Path, what: str, left: list[Path], why: str) -> Complaint:
    names = ", ".join(file.name for file in left[:5])
    more = f" and {len(left) - 5} more" if len(left) > 5 else ""
    count = f"{len(left)} {what}{'s are' if len(left) > 1 else ' is'}"
    return Complaint(f"{count} not read: {names}{more}", place=str(path), help=why)


def _read_file(path: Path, installed: Installed | None) -> Manifests:
    name = "standard input" if path == STANDARD_INPUT else str(path)
    wrong = ""
    try:
        data = sys.stdin.buffer.read() if path == STANDARD_INPUT else path.read_bytes()
        return read_text(_decoded(data), name, installed)
    except FileNotFoundError:
        wrong = "there is no such file"
    except UnicodeDecodeError:
        wrong = "this is no text in UTF-8"
    except OSError as error:
        wrong = f"cannot be read: {error.strerror}"
    return Manifests(complaints=(Complaint(wrong, place=name),), files=1)


def _decoded(data: bytes) -> str:
    """Decode UTF-8, or UTF-16 with a byte order mark, as some editors write it."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    return data.decode("utf-8-sig")


def _twice(manifests: Iterable[ParsedManifest]) -> Iterator[Complaint]:
    first_of: dict[tuple[str, str, str], ParsedManifest] = {}
    for manifest in manifests:
        thing = manifest.object
        key = (thing.kind, thing.metadata.namespace, thing.metadata.name)
        if key in first_of:
            first = first_of[key].place("metadata", "name")
            where = f", at {first} too" if first else ""
            yield Complaint(
                f"{thing.kind} {thing.metadata.name} is written twice in these files{where}",
                ("metadata", "name"),
                place=manifest.place("metadata", "name"),
                help="keep one of them",
            )
        first_of.setdefault(key, manifest)
