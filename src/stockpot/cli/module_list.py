"""Generates the list of modules in ARCHITECTURE.md from the first lines of their docstrings."""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1]

LAYERS = (
    *("cli", "controller", "local", "kube", "reconcile", "workload"),
    *("training", "merging", "evaluation", "serving", "unlearning", "diffusion"),
    *("cluster", "store", "metrics", "extensions", "process", "authentication", "core"),
    *("api", "extras", "errors"),
)
"""The order of `.importlinter`, entry points first."""

BEGIN = "<!-- modules: written by `make generate` -->"
END = "<!-- end of modules -->"


def with_module_list(page: str) -> str:
    """Replace the list in the page's text; append it where the page has none."""
    before, begin, rest = page.partition(BEGIN)
    after = rest.partition(END)[2] if begin else "\n"
    return f"{before}{BEGIN}\n{''.join(module_list())}{END}{after}"


def module_list() -> Iterator[str]:
    """Yield one paragraph for each package, in the order of the layers."""
    for name in LAYERS:
        folder = PACKAGE / name
        if not folder.is_dir():
            yield f"\n**`{name}.py`**: {first_line(folder.with_suffix('.py'))}\n"
            continue
        yield f"\n**`{name}/`**: {first_line(folder / '__init__.py')}\n\n"
        for path in sorted(folder.rglob("*.py")):
            if path.name not in {"__init__.py", "__main__.py"}:
                yield f"- `{path.relative_to(folder)}`: {first_line(path)}\n"
    yield "\n"


def first_line(path: Path) -> str:
    """Return the first line of a module's docstring."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]
