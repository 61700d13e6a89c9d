"""Write objects as YAML that kubectl, PyYAML and lint read alike."""

from collections.abc import Mapping
from typing import Any

import yaml

from stockpot.api import scalars

# The C dumper, if installed: local mode writes objects in every round.
_Base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_Base):  # type: ignore[misc]
    """Quotes text that kubectl, unlike PyYAML, does not read as text: `1e-4`, `y`, `08`."""


def _represent_text(dumper: Any, text: str) -> yaml.ScalarNode:
    style = None if scalars.tag_of(text) == scalars.TEXT else '"'
    node: yaml.ScalarNode = dumper.represent_scalar(scalars.TEXT, text, style=style)
    return node


_Dumper.add_representer(str, _represent_text)


def yaml_text(value: Mapping[str, Any]) -> str:
    """Format an object as YAML, its fields in their order."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text
