"""YAML and JSON documents as kubectl reads them, with where everything stands.

What JSON can say, and nothing else: a date is a string, and no tag makes an object of anything.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from stockpot.api import scalars
from stockpot.api.complaints import Complaint, Path

MOST_VALUES = 100_000
"""In one document, aliases counted as often as they are used: few lines can stand for millions."""


class NotYaml(ValueError):
    """The text is no YAML that the API server would take."""

    def __init__(self, message: str, place: str) -> None:
        super().__init__(f"this is not YAML: {message}")
        self.place = place


@dataclass(frozen=True)
class Document:
    """One document, with where it stands."""

    value: Any
    node: yaml.Node | None = field(default=None, repr=False)
    name: str = ""
    repeated: tuple[Complaint, ...] = ()
    """Keys that stand twice in one mapping: the first would be lost in silence."""

    def line(self, path: Path) -> int:
        """The line of a field, or of what is nearest above it; 0 where that is not known."""
        return _line(_find(self.node, path)[0]) if self.node else 0

    def place(self, path: Path) -> str:
        """File and line of a field, or of what is nearest above it."""
        return f"{self.name}:{self.line(path)}" if self.node else ""

    def written(self, path: Path) -> str | None:
        """A scalar as it stands in the file, with its quotes; None where there is none."""
        if self.node is None:
            return None
        node, whole = _find(self.node, path, value=True)
        if not whole or not isinstance(node, yaml.ScalarNode):
            return None
        text: str = node.value
        if not text.isprintable():
            return json.dumps(text)
        return f'"{text}"' if node.style in {"'", '"'} else text


def documents(text: str, name: str) -> Iterator[Document]:
    """Read the documents of a text one by one; empty ones are left out. Lists are taken apart.

    Raises:
        NotYaml: From there on it cannot be read.
    """
    for piece, loader in _pieces(text, name):
        for document in _documents(piece, name, loader):
            yield from _items(document)


def _documents(text: str, name: str, loader: "type[_Loader]") -> Iterator[Document]:
    try:
        for node in yaml.compose_all(text, Loader=loader):
            if isinstance(node, yaml.ScalarNode) and node.tag == scalars.NULL:
                continue
            repeated = tuple(
                Complaint(f"{key.value} is written twice", place=f"{name}:{_line(key)}")
                for key in _repeated(node)
            )
            value = None if repeated else loader("").construct_document(node)
            yield Document(value, node, name, repeated)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}:{mark.line + 1}" if mark else name
        raise NotYaml(_advice(error.problem or "it cannot be parsed", text), place) from error
    except yaml.YAMLError as error:
        raise NotYaml(str(error).splitlines()[0], name) from error
    except RecursionError as error:
        raise NotYaml("it is nested too deeply", name) from error


def _advice(problem: str, text: str) -> str:
    """Say what to do about what the parser found."""
    if "{{" in text:
        return f"{problem}; a Helm template has to be rendered first: helm template CHART"
    if r"'\t'" in problem:
        return f"{problem}: write spaces in place of tabs"
    return problem


def _pieces(text: str, name: str) -> "Iterator[tuple[str, type[_Loader]]]":
    """Take a text apart as kubectl does: JSON values may follow each other without any mark.

    Each keeps its place by as many empty lines before it.

    Raises:
        NotYaml: After a JSON value something else follows.
    """
    text = _MARKS.sub(r"\1", text)
    pieces: list[tuple[str, type[_Loader]]] = []
    at = _skip(text, 0)
    while text[at : at + 1] == "{":
        try:
            _, end = json.JSONDecoder().raw_decode(text, at)
        except (ValueError, RecursionError):
            if not pieces:
                break  # A flow mapping of YAML begins like that, too.
            raise NotYaml("this is no JSON", f"{name}:{text.count(chr(10), 0, at) + 1}") from None
        # A tab is a space to JSON outside of strings, and never inside of them.
        lines = "\n" * text.count("\n", 0, at)
        pieces.append((lines + text[at:end].replace("\t", " "), _JsonLoader))
        at = _skip(text, end)
        if separator := _SEPARATOR.match(text, at):
            at = _skip(text, separator.end())
            if text[at : at + 1] != "{":
                pieces.append(("\n" * text.count("\n", 0, at) + text[at:], _Loader))
                at = len(text)
    if pieces and at < len(text):
        line = text.count("\n", 0, at) + 1
        raise NotYaml("after a JSON value comes something that is none", f"{name}:{line}")
    yield from pieces or [(text, _Loader)]


_MARKS = re.compile(r"(\A|^---[^\n]*\n)\ufeff", re.MULTILINE)
"""Byte order marks: editors write them, and tools that join files leave them inside."""
_SEPARATOR = re.compile(r"---[ \t]*(#[^\n]*)?(\r?\n|\Z)")


def _skip(text: str, at: int) -> int:
    """Go on to the next letter that is no space."""
    while text[at : at + 1] in {" ", "\t", "\r", "\n"}:
        at += 1
    return at


def _items(document: Document) -> Iterator[Document]:
    """Take a list of objects apart, as `kubectl get -o yaml` prints it."""
    value, node = document.value, document.node
    if not isinstance(value, dict) or not str(value.get("kind", "")).endswith("List"):
        yield document
        return
    if set(value) - {"apiVersion", "kind", "metadata", "items"} or not value.get("items"):
        yield document
        return
    items, _ = _find(node, ("items",), value=True) if node else (None, False)
    if not isinstance(items, yaml.SequenceNode):
        yield document
        return
    for item, below in zip(value["items"], items.value, strict=True):
        yield Document(item, below, document.name)


class _Loader(yaml.SafeLoader):
    """What JSON can say, by kubectl's rules: a date is text; no sets, bytes or ordered pairs."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        if kind is yaml.ScalarNode and implicit[0]:
            return f"{scalars.TAG}merge" if value == "<<" else scalars.tag_of(value)
        resolved: str = super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]
        return resolved

    def fetch_directive(self) -> None:
        """Refuse `%YAML` and `%TAG`, as kubectl does."""
        raise yaml.scanner.ScannerError(
            None, None, "a line that begins with % is not read: remove it", self.get_mark()
        )

    def construct_scalar_of(self, node: yaml.Node) -> Any:
        return _value(node)

    def construct_text(self, node: yaml.ScalarNode) -> str:
        text: str = self.construct_scalar(node)
        try:
            return self.whole(text)
        except UnicodeError as error:
            raise yaml.constructor.ConstructorError(
                None, None, "there is half of a character (\\ud800 to \\udfff)", node.start_mark
            ) from error

    @staticmethod
    def whole(text: str) -> str:
        """Read a text, in which no half of a character may be.

        Raises:
            UnicodeError: There is one.
        """
        text.encode()
        return text


_Loader.yaml_implicit_resolvers = {}
_Loader.yaml_constructors = {
    tag: constructor
    for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
    if str(tag).rpartition(":")[2] not in {"binary", "set", "omap", "pairs"}
}
for _tag in (scalars.NULL, scalars.BOOL, scalars.INT, scalars.FLOAT):
    _Loader.add_constructor(_tag, _Loader.construct_scalar_of)
for _tag in (scalars.TEXT, f"{scalars.TAG}timestamp"):
    _Loader.add_constructor(_tag, _Loader.construct_text)


class _JsonLoader(_Loader):
    """In JSON a character is escaped in two halves, where it is beyond the first 65,536."""

    @staticmethod
    def whole(text: str) -> str:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")


def _repeated(root: yaml.Node) -> Iterator[yaml.Node]:
    """Find keys that stand twice in one mapping; refuse too many values, and keys that are none."""
    waiting, seen_values = [root], 0
    while waiting:
        node = waiting.pop()
        seen_values += 1
        if seen_values > MOST_VALUES:
            raise yaml.YAMLError(f"it has more than {MOST_VALUES:,} values")
        if isinstance(node, yaml.MappingNode):
            seen = set()
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode) or key.tag == scalars.NULL:
                    raise yaml.constructor.ConstructorError(
                        None, None, "a key is no text", key.start_mark
                    )
                written = _key(key)
                if written in seen:
                    yield key
                seen.add(written)
                waiting.append(value)
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def _value(node: yaml.Node) -> Any:
    """Read a scalar of the type that its tag says, or that it looks like."""
    if not isinstance(node, yaml.ScalarNode):
        what = f"a mapping or sequence is no {node.tag.rpartition(':')[2]}"
        raise yaml.constructor.ConstructorError(None, None, what, node.start_mark)
    try:
        return scalars.value_of(node.value, node.tag)
    except ValueError as error:
        raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from error


def _key(node: yaml.ScalarNode) -> str:
    """A key as JSON has it: text, whatever stands there."""
    if node.tag in {scalars.BOOL, scalars.INT, scalars.FLOAT}:
        return json.dumps(_value(node))
    key: str = node.value
    return key


def _find(node: yaml.Node, path: Path, *, value: bool = False) -> tuple[yaml.Node, bool]:
    """Follow a path as far as it goes: the key's node (or the value's), and if it was all there."""
    at, shown = node, node
    for part in path:
        if isinstance(at, yaml.MappingNode):
            pair = next(((k, v) for k, v in at.value if k.value == part), None)
            if pair is None:
                return shown, False
            shown, at = pair
        elif isinstance(at, yaml.SequenceNode) and isinstance(part, int) and part < len(at.value):
            shown = at = at.value[part]
        else:
            return shown, False
    return (at if value else shown), True


def _line(node: yaml.Node) -> int:
    line: int = node.start_mark.line
    return line + 1
