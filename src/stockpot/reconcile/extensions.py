"""Names that users write, and what they stand for: the built-in ones and those of entry points."""

import importlib.metadata
from collections.abc import Mapping

from stockpot.api.training import Named
from stockpot.core.weighting import Declared, Unusable, Weighting

WEIGHTINGS: Mapping[str, type[Weighting]] = {"Declared": Declared}


def resolve_weighting(named: Named) -> Weighting | Unusable:
    """Find a weighting; where it is unknown or breaks, say so instead of failing."""
    found = WEIGHTINGS.get(named.name)
    others = {one.name: one for one in importlib.metadata.entry_points(group="stockpot.weighting")}
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
    found = importlib.metadata.entry_points(group="stockpot.training")
    return frozenset({"FineTune", *(one.name for one in found)})
