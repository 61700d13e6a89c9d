"""Packages of somebody else's, as pip leaves them: a module and its entry points, in a folder."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from stockpot import extensions


def lay_package(
    folder: Path, name: str, code: str, entries: Mapping[str, Mapping[str, str]]
) -> Path:
    """Write a package into a folder that is to be on Python's path.

    Args:
        folder: Where packages lie.
        name: Of the package and its one module.
        code: The text of the module.
        entries: By entry-point group, what each name stands for in the module.
    """
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = []
    for group, named in entries.items():
        lines += [f"[{group}]", *(f"{entry} = {name}:{thing}" for entry, thing in named.items())]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    (folder / f"{name}.py").write_text(code)
    return folder


def install(
    patch: pytest.MonkeyPatch,
    folder: Path,
    name: str,
    code: str,
    entries: Mapping[str, Mapping[str, str]],
) -> None:
    """Write a package and have this process find it, until the test ends."""
    patch.syspath_prepend(lay_package(folder, name, code, entries))
    extensions.forget()
