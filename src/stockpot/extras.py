"""The optional packages: which extra installs each, and what is said where one is missing.

A module of ours imports an optional package inside the function that uses it, or is itself
imported by name when it is used. So every command can be listed and asked for its `--help` without
any extra, and one that lacks its extra ends with a sentence that names it.
"""

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from stockpot.errors import ExitCode, Refused

# By the names that they are imported by; pyproject.toml has those of their distributions.
EXTRAS: Mapping[str, tuple[str, ...]] = {
    "operator": ("kopf", "kubernetes"),
    "workload": (
        "accelerate",
        "diffusers",
        "fastapi",
        "PIL",
        "safetensors",
        "starlette",
        "torch",
        "transformers",
        "uvicorn",
    ),
}


class MissingExtra(Refused):
    """An optional package is not installed, which a command needs."""

    exit_code = ExitCode.USAGE

    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(
            f"{what} needs the package {package}, which is not installed: "
            f"the extra `{extra}` brings it",
            help=f'pip install "stockpot[{extra}]", or in a checkout: pip install ".[{extra}]"',
        )


def extra_of(package: str) -> str | None:
    """The extra that installs an importable package; None where no extra does."""
    return next((extra for extra, packages in EXTRAS.items() if package in packages), None)


@contextmanager
def extra_named(what: str) -> Iterator[None]:
    """Say which extra is missing where an import fails for the lack of one.

    Args:
        what: What was to be done, as the subject of the sentence: `stockpot plan`.

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
    """Refuse to begin what an extra is needed for. Nothing is imported.

    Raises:
        MissingExtra: One of its packages is not installed.
    """
    for package in EXTRAS[extra]:
        if importlib.util.find_spec(package) is None:
            raise MissingExtra(what, package, extra)
