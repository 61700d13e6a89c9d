"""The docstrings of fields, read from the source when a schema or a page is generated.

Pydantic reads them when each class is made (`use_attribute_docstrings`), which was half of the time
that importing the API took, in every command and every pod. Only generated files need them.
"""

import ast
import inspect
from collections.abc import Iterator, Mapping
from functools import cache
from types import ModuleType


@cache
def field_docstrings(model: type) -> Mapping[str, str]:
    """Return the docstring of each field of a class that has one, inherited ones too.

    Args:
        model: A class that stands at the top level of a module.
    """
    docstrings: dict[str, str] = {}
    for base in reversed(model.__mro__):
        module = inspect.getmodule(base)
        if module and module.__name__.partition(".")[0] == "stockpot":
            docstrings |= _classes(module).get(base.__name__, {})
    return docstrings


@cache
def _classes(module: ModuleType) -> Mapping[str, Mapping[str, str]]:
    tree = ast.parse(inspect.getsource(module))
    return {node.name: dict(_fields(node)) for node in tree.body if isinstance(node, ast.ClassDef)}


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for statement, following in zip(node.body, node.body[1:], strict=False):
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)):
            continue
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            text = following.value.value
            if isinstance(text, str):
                yield statement.target.id, inspect.cleandoc(text)
