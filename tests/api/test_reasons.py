"""Every documented reason and condition type is set by some module, or is marked Deprecated."""

import ast
from pathlib import Path

import pytest

from stockpot.api.conditions import ConditionType, Reason

SRC = Path(__file__).resolve().parents[2] / "src/stockpot"
DECLARED_IN = SRC / "api/conditions.py"


def used_members(class_name: str) -> set[str]:
    """Members of an enumeration that any module but its own names in code."""
    return {
        node.attr
        for path in SRC.rglob("*.py")
        if path != DECLARED_IN
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == class_name
    }


@pytest.mark.parametrize("kind", [Reason, ConditionType])
def test_each_is_set_or_deprecated(kind: type[Reason] | type[ConditionType]) -> None:
    used = used_members(kind.__name__)
    unset = {member for member in kind if member.name not in used}
    deprecated = {member for member in kind if member.meaning.startswith("Deprecated:")}

    assert unset == deprecated
