"""What other packages bring: methods, evaluators and weightings, by entry points.

    [project.entry-points."stockpot.training"]            makes `training.method.name: Mine` known
    Mine = "package.module:Mine"
    [project.entry-points."stockpot.training.options"]    optional: has lint check its options
    Mine = "package.options:MineOptions"                  a pydantic model; must not import torch

The groups `stockpot.evaluator` and `stockpot.weighting` work alike. Names are found without
importing anything. Whatever a package does wrong is an error of ours that names the package, never
a traceback; a package whose metadata is broken hides no other.
"""

import importlib.metadata
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint
from typing import Any

from pydantic import BaseModel

from stockpot.api.complaints import Complaint
from stockpot.api.options import EVALUATORS, METHODS, WEIGHTINGS, Installed, Plugins, Registry
from stockpot.api.training import Named
from stockpot.errors import ExitCode, Refused, describe


@dataclass(frozen=True)
class Plugin:
    """One entry point, with the package that brings it."""

    entry: EntryPoint
    package: str

    def load(self) -> Any:
        """Import it.

        Raises:
            Refused: (BAD_RUN_SPEC) The import fails, in whatever way.
        """
        try:
            return self.entry.load()
        except (Exception, SystemExit) as error:
            raise self.refused(f"it cannot be loaded: {describe(error)}") from error

    def refused(self, why: str) -> Refused:
        """Say what is wrong with it."""
        return Refused(
            f"{self.entry.name} of the package {self.package} cannot be used: {why}",
            help=f"mend or remove the package {self.package} ({self.entry.value})",
            exit_code=ExitCode.BAD_RUN_SPEC,
        )


def installed() -> Installed:
    """List what the packages of this environment bring, with the options that they declare."""
    return Installed(
        methods=declared(METHODS), evaluators=declared(EVALUATORS), weightings=declared(WEIGHTINGS)
    )


def with_names(known: Installed, names: Collection[str]) -> Installed:
    """Count names as installed that are elsewhere; their options are not known."""
    further: Plugins = dict.fromkeys(names)
    return Installed(
        methods={**further, **known.methods},
        evaluators={**further, **known.evaluators},
        weightings={**further, **known.weightings},
    )


@cache
def declared(registry: Registry) -> Plugins:
    """List what can be named in one field, with the model of its options where there is a good one.

    Args:
        registry: Which field. What is built in is not listed, though a package has the same name.
    """
    models = plugins(f"{registry.group}.options")
    found: dict[str, type[BaseModel] | None] = {}
    for name in plugins(registry.group):
        if name not in registry.built_in:
            found[name] = _model(models[name]) if name in models else None
    return found


def refuse(complaints: Sequence[Complaint]) -> None:
    """End a run whose names or options are wrong.

    Raises:
        Refused: (BAD_RUN_SPEC) There is any complaint; the message has all of them.
    """
    if not complaints:
        return
    # A sentence may begin with a name, which is written as it is.
    sentences = (re.sub("^(there|a) ", _capital, complaint.message) for complaint in complaints)
    raise Refused(
        " ".join(f"{sentence}." for sentence in sentences),
        help="; ".join(dict.fromkeys(complaint.help for complaint in complaints if complaint.help))
        or "change it in the Soup",
        exit_code=ExitCode.BAD_RUN_SPEC,
    )


def _capital(found: re.Match[str]) -> str:
    return found[0].capitalize()


def make(
    registry: Registry, named: Named, build: Callable[[Any], Any], needs: tuple[str, ...]
) -> Any:
    """Load what another package brings and make one of it.

    Args:
        registry: What kind of thing it is.
        named: Its name and options, which the registry knows.
        build: Makes one from what was loaded.
        needs: The methods that it must have.

    Raises:
        Refused: (BAD_RUN_SPEC) It breaks on being loaded or made, or a method is missing.
    """
    plugin = plugins(registry.group)[named.name]
    kind = plugin.load()
    try:
        made = build(kind)
    except Refused:
        raise  # It says itself what is wrong with its options.
    except (Exception, SystemExit) as error:
        raise plugin.refused(
            f"it cannot be made from its options {dict(named.options)}: {describe(error)}"
        ) from error
    if missing := [name for name in needs if not callable(getattr(made, name, None))]:
        raise plugin.refused(f"{registry.article} needs the method {missing[0]}, and it has none")
    return made


@cache
def plugins(group: str) -> Mapping[str, Plugin]:
    """Find the entry points of a group, by name; read once, for what is installed stays so.

    Of two packages that bring the same name, the one that Python imports from first counts.
    """
    found: dict[str, Plugin] = {}
    for package in importlib.metadata.distributions():
        try:
            name = package.name
            entries = list(package.entry_points.select(group=group))
        except Exception:  # noqa: S112  Its metadata is broken: it hides itself, and no other.
            continue
        for entry in entries:
            found.setdefault(entry.name, Plugin(entry, name))
    return found


def forget() -> None:
    """Look anew for what is installed."""
    plugins.cache_clear()
    declared.cache_clear()


def _model(plugin: Plugin) -> type[BaseModel] | None:
    """Load an options model; None where it is none: then its options are not checked beforehand."""
    try:
        model = plugin.load()
    except Refused:
        return None
    return model if isinstance(model, type) and issubclass(model, BaseModel) else None
