"""Optional packages: the extra that installs each, and the error where one is missing.

Modules import an optional package inside the function that uses it, or are themselves imported by
name when they are used. So every command can be listed and prints its `--help` without any extra,
and a command whose extra is missing ends with an error that names it.
"""

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from stockpot.errors import ExitCode, Refused

# Import names; pyproject.toml lists the distributions.
EXTRAS: Mapping[str, tuple[str, ...]] = {
    "operator": ("kopf", "kubernetes"),
    "workload": (
        "accelerate",
        "diffusers",
        "fastapi",
        "google",
        "peft",
        "PIL",
        "safetensors",
        "sentencepiece",
        "starlette",
        "torch",
        "transformers",
        "uvicorn",
    ),
}


class MissingExtra(Refused):
    """A command needs an optional package that is not installed."""

    exit_code = ExitCode.USAGE

    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(
            f"{what} needs the package {package}, which is not installed: "
            f"the extra `{extra}` brings it",
            help=f'pip install "stockpot[{extra}]", or in a checkout: pip install ".[{extra}]"',
        )


def extra_of(package: str) -> str | None:
    """Return the extra that installs an importable package, or None if no extra does."""
    return next((extra for extra, packages in EXTRAS.items() if package in packages), None)


@contextmanager
def extra_named(what: str) -> Iterator[None]:
    """Turn an import error for an optional package into an error that names its extra.

    Args:
        what: The command, as the subject of the error message: `stockpot plan`.

    Raises:
        MissingExtra: An optional package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        extra = extra_of(package)
        if extra is None:
            raise
        raise MissingExtra(what, package, extra) from error


def require(extra: str, what: str) -> None:
    """Check that the packages of an extra are installed, without importing them.

    Raises:
        MissingExtra: One of its packages is not installed.
    """
    for package in EXTRAS[extra]:
        if importlib.util.find_spec(package) is None:
            raise MissingExtra(what, package, extra)
