"""The rules of docs/style.md that a program can hold."""

import ast
import re
from collections.abc import Iterator

MAX_LINES = 450
BANNED_NAMES = {"one", "found", "said", "told", "seen", "asked"}
FRAGMENT = re.compile(
    r"(Of |The same\b|None:|So |What of |Whom\b|Whoever\b|Somebody\b|Nobody\b|Whether it is\b)"
)


def findings(text: str) -> Iterator[tuple[int, str]]:
    """Yield a line number and what is wrong there."""
    tree = ast.parse(text)
    if (count := text.count("\n")) > MAX_LINES:
        yield 1, f"{count} lines: part the file by subject"
    if tree.body and not ast.get_docstring(tree):
        yield 1, "the module has no docstring"
    for node in ast.walk(tree):
        for name in bound_names(node):
            if name.strip("_").lower() in BANNED_NAMES:
                yield getattr(node, "lineno", 1), f"name {name!r}: say what it holds"
        for line, docstring in docstrings(node):
            if FRAGMENT.match(docstring):
                yield line, f"docstring is a fragment: {docstring.splitlines()[0]}"


def bound_names(node: ast.AST) -> list[str]:
    """List the names that a node binds."""
    match node:
        case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
            return [name]
        case ast.arg(arg=name) | ast.ExceptHandler(name=str(name)):
            return [name]
        case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            return [name]
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return [alias.asname for alias in names if alias.asname]
    return []


def docstrings(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the docstring of a definition, and those below assignments in its body."""
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return
    if docstring := ast.get_docstring(node):
        yield node.body[0].lineno, docstring
    for statement, after in zip(node.body, node.body[1:], strict=False):
        match statement, after:
            case ast.Assign() | ast.AnnAssign(), ast.Expr(value=ast.Constant(value=str(text))):
                yield after.lineno, text.strip()


def public_classes(text: str) -> list[str]:
    """List the public classes that a module defines."""
    classes = (node for node in ast.parse(text).body if isinstance(node, ast.ClassDef))
    return [node.name for node in classes if not node.name.startswith("_")]
