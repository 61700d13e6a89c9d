"""YAML documents as the API server takes them, with where everything stands.

What JSON can say, and nothing else: a date is a string, and no tag makes an object of anything.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

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
        return f'"{text}"' if node.style in {"'", '"'} else text


def documents(text: str, name: str) -> Iterator[Document]:
    """Read the documents of a text one by one; empty ones are left out.

    Raises:
        NotYaml: From there on it cannot be read.
    """
    try:
        for node in yaml.compose_all(text, Loader=_Loader):
            if isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null"):
                continue
            repeated = tuple(
                Complaint(f"{key.value} is written twice", place=f"{name}:{_line(key)}")
                for key in _repeated(node)
            )
            value = None if repeated else _Loader("").construct_document(node)
            yield Document(value, node, name, repeated)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}:{mark.line + 1}" if mark else name
        raise NotYaml(error.problem or "it cannot be parsed", place) from error
    except yaml.YAMLError as error:
        raise NotYaml(str(error).splitlines()[0], name) from error
    except RecursionError as error:
        raise NotYaml("it is nested too deeply", name) from error


class _Loader(yaml.SafeLoader):
    """A date is a string; no sets, bytes or ordered pairs."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.yaml_constructors = {
    tag: constructor
    for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
    if str(tag).rpartition(":")[2] not in {"binary", "set", "omap", "pairs"}
}


def _repeated(root: yaml.Node) -> Iterator[yaml.Node]:
    waiting, seen_values = [root], 0
    while waiting:
        node = waiting.pop()
        seen_values += 1
        if seen_values > MOST_VALUES:
            raise yaml.YAMLError(f"it has more than {MOST_VALUES:,} values")
        if isinstance(node, yaml.MappingNode):
            seen = set()
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode):
                    if key.value in seen:
                        yield key
                    seen.add(key.value)
                waiting.append(value)
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


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
