"""Names that users write, and what they stand for: the built-in ones and those of entry points."""

import importlib.metadata
from collections.abc import Mapping
from functools import cache

from stockpot.api.training import Named
from stockpot.core.weighting import Declared, Unusable, Weighting

WEIGHTINGS: Mapping[str, type[Weighting]] = {"Declared": Declared}


def resolve_weighting(named: Named) -> Weighting | Unusable:
    """Find a weighting; where it is unknown or breaks, say so instead of failing."""
    found = WEIGHTINGS.get(named.name)
    others = _installed("stockpot.weighting")
    try:
        made = found or others[named.name].load()
        weighting: Weighting = made(**named.options)
    except KeyError:
        known = ", ".join(sorted({*WEIGHTINGS, *others}))
        return Unusable(f"no weighting is called {named.name}", f"use one of {known}")
    except Exception as broken:
        return Unusable(f"weighting {named.name} cannot be used: {broken}", "mend its options")
    return weighting


def known_methods() -> frozenset[str]:
    """Training methods that somebody may name; looked up without loading torch."""
    return frozenset({"FineTune", *_installed("stockpot.training")})


@cache
def _installed(group: str) -> Mapping[str, importlib.metadata.EntryPoint]:
    """Those of other packages, found once: what is installed stays so while a process runs."""
    return {one.name: one for one in importlib.metadata.entry_points(group=group)}
