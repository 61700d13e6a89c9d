"""Reading objects: strictly what a person wrote, leniently what was stored.

A person's file must say nothing that we do not understand, and every mistake in it is shown at
once with its line. What comes back from a cluster or a folder may have been written by a newer
version: its unknown fields are ignored.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stockpot.api import complaints
from stockpot.api.complaints import Complaint
from stockpot.api.documents import Document, NotYaml, documents
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

SUFFIXES = frozenset({".yaml", ".yml"})

# The server decides these. They stand in files that were read back with kubectl, and are no
# part of what a person asks for.
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
class Manifests:
    """What files say, and what is wrong with them."""

    objects: tuple[DataShard | Soup, ...] = ()
    complaints: tuple[Complaint, ...] = ()
    files: int = 0

    def __add__(self, other: "Manifests") -> "Manifests":
        return Manifests(
            self.objects + other.objects,
            self.complaints + other.complaints,
            self.files + other.files,
        )

    def checked(self) -> tuple[DataShard | Soup, ...]:
        """The objects, if all is well.

        Raises:
            Refused: Something is wrong; the message has every complaint.
        """
        if not self.complaints:
            return self.objects
        if len(self.complaints) == 1:
            [one] = self.complaints
            raise Refused(str(replace(one, help="")), help=one.help, exit_code=ExitCode.INVALID)
        lines = "\n  ".join(map(str, self.complaints))
        raise Refused(f"{len(self.complaints)} mistakes\n  {lines}", exit_code=ExitCode.INVALID)


def read_file(path: Path) -> tuple[DataShard | Soup, ...]:
    """Read the objects of a file, or of all `.yaml` and `.yml` files in a folder, strictly.

    Raises:
        Refused: Something is wrong; the message has everything that is, with file and line.
    """
    return read_paths([path]).checked()


def read_paths(paths: Iterable[Path]) -> Manifests:
    """Read files and folders (not the folders within), strictly. Complaints are collected."""
    read = sum((_read_one(file) for path in paths for file in _files(path)), Manifests())
    return replace(read, complaints=(*read.complaints, *_twice(read.objects)))


def read_strict(value: Mapping[str, Any]) -> DataShard | Soup:
    """Read one object that a person wrote.

    Raises:
        Refused: Something is wrong; the message has everything that is.
    """
    return read_document(Document(value)).checked()[0]


def read_lenient(value: Mapping[str, Any]) -> AnyObject:
    """Read one object of any kind as it was stored; unknown fields are ignored.

    Raises:
        Refused: It is of no kind of ours, or not even its known fields are as they should be.
    """
    kind = BY_KIND.get(str(value.get("kind")))
    if kind is None or value.get("apiVersion") != API_VERSION:
        raise Refused(f"{_identity(value)} is not of a kind that this version knows")
    try:
        return kind.model_validate(value, extra="ignore")
    except ValidationError as error:
        found = "; ".join(map(str, complaints.complaints_of(error, kind, lambda _: None)))
        raise Refused(f"{_identity(value)} cannot be understood: {found}") from error


def read_text(text: str, name: str) -> Manifests:
    """Read the YAML documents of one file, strictly.

    Args:
        text: What stands in it.
        name: What to call it in complaints.
    """
    read = Manifests(files=1)
    try:
        for document in documents(text, name):
            read += read_document(document)
    except NotYaml as error:
        return read + Manifests(complaints=(Complaint(str(error), place=error.place),))
    if not read.objects and not read.complaints:
        return Manifests((), (Complaint("there is no object in it", place=name),), 1)
    return read


def read_document(document: Document) -> Manifests:
    """Read one object, strictly."""
    value = document.value
    if document.repeated:
        return Manifests(complaints=document.repeated)
    kind, wrong = _kind_of(value)
    if kind is None:
        return _complain(document, wrong)
    ours = {key: part for key, part in value.items() if key != "status"}
    if isinstance(ours.get("metadata"), dict):
        metadata = ours["metadata"].items()
        ours["metadata"] = {key: part for key, part in metadata if key not in OF_THE_SERVER}
    try:
        # As JSON, because that is what the API server reads: there, "5" is no number.
        read = kind.model_validate_json(json.dumps(ours), strict=True)
    except ValidationError as error:
        return _complain(document, complaints.complaints_of(error, kind, document.written))
    if len(name := read.metadata.name) > MAX_NAME:
        long = Complaint(
            f"metadata.name is {name}",
            ("metadata", "name"),
            help=f"write at most {MAX_NAME} letters; it has {len(name)}",
        )
        return _complain(document, [long])
    return Manifests((read,))


def _complain(document: Document, wrong: Iterable[Complaint]) -> Manifests:
    in_order = sorted(wrong, key=lambda one: document.line(one.path))
    placed = (replace(one, place=document.place(one.path)) for one in in_order)
    return Manifests(complaints=tuple(placed))


def _kind_of(value: Any) -> tuple[type[DataShard] | type[Soup] | None, list[Complaint]]:
    if not isinstance(value, Mapping):
        return None, [Complaint("this is no object", help="write apiVersion, kind, metadata, spec")]
    said = value.get("apiVersion")
    if said != API_VERSION:
        found = f"apiVersion is {said}" if said else "apiVersion is missing"
        hint = f"this version reads apiVersion: {API_VERSION}"
        return None, [Complaint(found, ("apiVersion",), help=hint)]
    name = value.get("kind")
    if name in BY_USERS:
        return BY_USERS[name], []
    found = f"kind is {name}" if name else "kind is missing"
    hint = f"write kind: {' or kind: '.join(BY_USERS)}"
    if name in BY_KIND:
        hint = "Stockpot writes these itself"
    return None, [Complaint(found, ("kind",), help=hint)]


def _identity(value: Mapping[str, Any]) -> str:
    metadata = value.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    return f"{value.get('kind') or 'an object without kind'} {name or 'without name'}"


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
    if not found:
        raise Refused(
            f"there is no .yaml file in {path}",
            help="folders within a folder are not looked into: name them too",
        )
    return found


def _read_one(path: Path) -> Manifests:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Manifests((), (Complaint("there is no such file", place=str(path)),), 1)
    except UnicodeDecodeError:
        return Manifests((), (Complaint("this is no text in UTF-8", place=str(path)),), 1)
    except OSError as error:
        return Manifests((), (Complaint(f"cannot be read: {error.strerror}", place=str(path)),), 1)
    return read_text(text, str(path))


def _twice(objects: Iterable[DataShard | Soup]) -> Iterator[Complaint]:
    seen = set()
    for one in objects:
        key = (one.kind, one.metadata.namespace, one.metadata.name)
        if key in seen:
            yield Complaint(f"{one.kind} {one.metadata.name} is written twice in these files")
        seen.add(key)
