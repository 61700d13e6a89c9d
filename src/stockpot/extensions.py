"""The plug-ins of other packages: training methods, evaluators and weightings, by entry points.

    [project.entry-points."stockpot.training"]            makes `training.method.name: Mine` known
    Mine = "package.module:Mine"
    [project.entry-points."stockpot.training.options"]    optional: the options, for lint to check
    Mine = "package.options:MineOptions"                  a pydantic model; must not import torch

The groups `stockpot.evaluator` and `stockpot.weighting` work alike; `stockpot.api.options` lists
the groups, the built-in names and what is wrong with a name. Listing names imports nothing. Every
fault of a package is a `Refused` that names the package, never a traceback, and a package with
broken metadata hides no other.
"""

import importlib.metadata
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint
from typing import Any

from pydantic import BaseModel

from stockpot.api.complaints import Complaint
from stockpot.api.options import EVALUATORS, METHODS, WEIGHTINGS, Installed, Plugins, Registry
from stockpot.api.training import Named
from stockpot.errors import ExitCode, Refused, StockpotError, describe

_MACHINE_ERRORS = (OSError, MemoryError)
"""Errors of the machine: another attempt may succeed, so the package is not blamed."""
_TORCH_MACHINE_ERRORS = {"OutOfMemoryError", "AcceleratorError"}
"""Torch's, by name: nothing here imports torch."""


@dataclass(frozen=True)
class Plugin:
    """One entry point, with the package that brings it."""

    entry: EntryPoint
    package: str

    def load(self) -> Any:
        """Import the object that the entry point names.

        Raises:
            Refused: (BAD_RUN_SPEC) The import fails, in whatever way.
        """
        try:
            return self.entry.load()
        except (Exception, SystemExit) as error:
            raise self.refused(f"it cannot be loaded: {describe(error)}") from error

    def refused(self, why: str) -> Refused:
        """Make the error that names the entry point, its package and the fault."""
        return Refused(
            f"{self.entry.name} of the package {self.package} cannot be used: {why}",
            help=f"mend or remove the package {self.package} ({self.entry.value})",
            exit_code=ExitCode.BAD_RUN_SPEC,
        )

    @contextmanager
    def blamed(self, method: str) -> Iterator[None]:
        """Turn errors of the package's code into one that names the package.

        Errors of our own, of the disk and of memory pass as they are.

        Args:
            method: The method that is called.

        Raises:
            Refused: (BAD_RUN_SPEC) The code inside raises anything else, or exits.
        """
        try:
            yield
        except (StockpotError, *_MACHINE_ERRORS):
            raise
        except (Exception, SystemExit) as error:
            if type(error).__name__ in _TORCH_MACHINE_ERRORS:
                raise
            raise self.refused(f"its {method} raised {describe(error)}") from error


@dataclass(frozen=True)
class LoadedPlugin:
    """An instance of a plug-in, with the entry point that it comes from."""

    plugin: Plugin
    instance: Any

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the instance.

        Raises:
            Refused: (BAD_RUN_SPEC) It raises; the message names the package.
        """
        with self.plugin.blamed(method):
            return getattr(self.instance, method)(*arguments)

    def refused(self, why: str) -> Refused:
        """Make the error that says what is wrong with an answer of the instance."""
        return self.plugin.refused(why)


def installed() -> Installed:
    """List what the packages of this environment bring, with the options that they declare."""
    return Installed(
        methods=declared(METHODS), evaluators=declared(EVALUATORS), weightings=declared(WEIGHTINGS)
    )


def with_names(known: Installed, names: Collection[str]) -> Installed:
    """Add names that are installed elsewhere; their options are not known."""
    elsewhere: Plugins = dict.fromkeys(names)
    return Installed(
        methods={**elsewhere, **known.methods},
        evaluators={**elsewhere, **known.evaluators},
        weightings={**elsewhere, **known.weightings},
    )


@cache
def declared(registry: Registry) -> Plugins:
    """List the plug-ins that one field may name, with the model of each one's options.

    Built-in names are not listed: no package replaces them. The model is None where the package
    declares none, or one that cannot be loaded.
    """
    models = plugins(f"{registry.group}.options")
    return {
        name: _options_model(models[name]) if name in models else None
        for name in plugins(registry.group)
        if name not in registry.built_in
    }


def refuse(complaints: Sequence[Complaint]) -> None:
    """Raise if names or options are wrong.

    Raises:
        Refused: (BAD_RUN_SPEC) There is any complaint; the message has all of them.
    """
    if not complaints:
        return
    # A sentence that begins with a name keeps the name's case.
    sentences = (re.sub("^(there|a) ", _capital, complaint.message) for complaint in complaints)
    raise Refused(
        " ".join(f"{sentence}." for sentence in sentences),
        help="; ".join(dict.fromkeys(complaint.help for complaint in complaints if complaint.help))
        or "change it in the Soup",
        exit_code=ExitCode.BAD_RUN_SPEC,
    )


def _capital(match: re.Match[str]) -> str:
    return match[0].capitalize()


def load_plugin(
    registry: Registry, named: Named, build: Callable[[Any], Any], needs: tuple[str, ...]
) -> LoadedPlugin:
    """Load a plug-in and make an instance of it.

    Args:
        registry: The kind of plug-in.
        named: Its name and options, which the registry knows.
        build: Makes an instance from the loaded object.
        needs: The methods that the instance must have.

    Raises:
        Refused: (BAD_RUN_SPEC) Loading or construction fails, or a method is missing.
    """
    plugin = plugins(registry.group)[named.name]
    factory = plugin.load()
    try:
        instance = build(factory)
    except Refused:
        raise  # Its own message says what is wrong with its options.
    except (Exception, SystemExit) as error:
        raise plugin.refused(
            f"it cannot be made from its options {dict(named.options)}: {describe(error)}"
        ) from error
    if missing := [name for name in needs if not callable(getattr(instance, name, None))]:
        raise plugin.refused(f"{registry.article} needs the method {missing[0]}, and it has none")
    return LoadedPlugin(plugin, instance)


@cache
def plugins(group: str) -> Mapping[str, Plugin]:
    """List the entry points of a group, by name; read once a process.

    Where two packages bring the same name, the first on Python's path counts.
    """
    by_name: dict[str, Plugin] = {}
    for package in importlib.metadata.distributions():
        try:
            name = package.name
            entries = list(package.entry_points.select(group=group))
        except Exception:  # noqa: S112  Broken metadata hides its own package, and no other.
            continue
        for entry in entries:
            by_name.setdefault(entry.name, Plugin(entry, name))
    return by_name


def forget() -> None:
    """Clear the cached list of entry points: the next call reads what is installed."""
    plugins.cache_clear()
    declared.cache_clear()


def _options_model(plugin: Plugin) -> type[BaseModel] | None:
    """Load an options model; None where that fails: options are then checked on construction."""
    try:
        model = plugin.load()
    except Refused:
        return None
    return model if isinstance(model, type) and issubclass(model, BaseModel) else None
