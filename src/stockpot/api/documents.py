"""YAML and JSON documents as kubectl reads them, with the line of each field.

Values are those of JSON alone: a date is a string, and no tag constructs an object.
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
"""Most values in a document. Aliases count at each use: a few lines can stand for millions."""


class NotYaml(ValueError):
    """The text is not YAML that the API server accepts."""

    def __init__(self, message: str, place: str) -> None:
        super().__init__(f"this is not YAML: {message}")
        self.place = place


@dataclass(frozen=True)
class Document:
    """A document, with its place in the file."""

    value: Any
    node: yaml.Node | None = field(default=None, repr=False)
    name: str = ""
    repeated: tuple[Complaint, ...] = ()
    """Complaints about repeated keys of a mapping: the first value would be lost in silence."""

    def line(self, path: Path) -> int:
        """Return the line of a field, or of its nearest ancestor; 0 if it is not known."""
        return _line(_find(self.node, path)[0]) if self.node else 0

    def place(self, path: Path) -> str:
        """Return file and line of a field, or of its nearest ancestor."""
        return f"{self.name}:{self.line(path)}" if self.node else ""

    def written(self, path: Path) -> str | None:
        """Return a scalar as the file has it, with its quotes; None if there is none."""
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
    """Read the documents of a text. Empty documents are skipped, and lists are split into items.

    Raises:
        NotYaml: The rest of the text cannot be read.
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
    """Return the parser's message, with advice where there is any."""
    if "{{" in text:
        return f"{problem}; a Helm template has to be rendered first: helm template CHART"
    if r"'\t'" in problem:
        return f"{problem}: write spaces in place of tabs"
    return problem


def _pieces(text: str, name: str) -> "Iterator[tuple[str, type[_Loader]]]":
    """Split a text as kubectl does: JSON values need no separator between them.

    Empty lines before a piece keep its line numbers.

    Raises:
        NotYaml: Text that is not JSON follows a JSON value.
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
    """Return the position of the next character that is not white space."""
    while text[at : at + 1] in {" ", "\t", "\r", "\n"}:
        at += 1
    return at


def _items(document: Document) -> Iterator[Document]:
    """Split a list of objects, as `kubectl get -o yaml` prints it, into its items."""
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
    """Loads JSON's values by kubectl's rules: a date is text; no sets, bytes or ordered pairs."""

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
        """Return a text without lone surrogates.

        Raises:
            UnicodeError: The text has a lone surrogate.
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
    """Loads JSON, which escapes characters above U+FFFF as two surrogates."""

    @staticmethod
    def whole(text: str) -> str:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")


def _repeated(root: yaml.Node) -> Iterator[yaml.Node]:
    """Find repeated keys of mappings; refuse too many values, and keys that are not scalars."""
    waiting, count = [root], 0
    while waiting:
        node = waiting.pop()
        count += 1
        if count > MOST_VALUES:
            raise yaml.YAMLError(f"it has more than {MOST_VALUES:,} values")
        if isinstance(node, yaml.MappingNode):
            keys = set()
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode) or key.tag == scalars.NULL:
                    raise yaml.constructor.ConstructorError(
                        None, None, "a key is no text", key.start_mark
                    )
                written = _key(key)
                if written in keys:
                    yield key
                keys.add(written)
                waiting.append(value)
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def _value(node: yaml.Node) -> Any:
    """Read a scalar as the type of its tag."""
    if not isinstance(node, yaml.ScalarNode):
        what = f"a mapping or sequence is no {node.tag.rpartition(':')[2]}"
        raise yaml.constructor.ConstructorError(None, None, what, node.start_mark)
    try:
        return scalars.value_of(node.value, node.tag)
    except ValueError as error:
        raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from error


def _key(node: yaml.ScalarNode) -> str:
    """Return a key as JSON has it, as text."""
    if node.tag in {scalars.BOOL, scalars.INT, scalars.FLOAT}:
        return json.dumps(_value(node))
    key: str = node.value
    return key


def _find(node: yaml.Node, path: Path, *, value: bool = False) -> tuple[yaml.Node, bool]:
    """Follow a path as far as it goes.

    Returns:
        The node of the last key (or its value), and whether the whole path exists.
    """
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
