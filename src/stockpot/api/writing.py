"""Objects as YAML that every reader takes for the same: kubectl, PyYAML, and lint."""

from collections.abc import Mapping
from typing import Any

import yaml

from stockpot.api import scalars

# The same in C, where there is it: local mode writes objects in every round.
_Base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_Base):  # type: ignore[misc]
    """Quotes what kubectl would not take for text, though PyYAML does: `1e-4`, `y`, `08`."""


def _represent_text(dumper: Any, text: str) -> yaml.ScalarNode:
    style = None if scalars.tag_of(text) == scalars.TEXT else '"'
    node: yaml.ScalarNode = dumper.represent_scalar(scalars.TEXT, text, style=style)
    return node


_Dumper.add_representer(str, _represent_text)


def yaml_text(value: Mapping[str, Any]) -> str:
    """Write one object, its fields in their order."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text
