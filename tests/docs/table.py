"""The table of places, `places.toml`, and what is put in the place of the pages' words."""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ALL = os.environ.get("DOCS") == "all"
"""Whether `make docs-test` runs us: all places then, not only those that are quick."""
QUICK = bool(os.environ.get("QUICK")) or not ALL
"""Whether stories are told in their short form."""


@dataclass(frozen=True)
class Place:
    """What the table says of a place."""

    name: str
    about: str
    suite: str
    minutes: int
    instead: Mapping[str, str]
    needs: tuple[str, ...] = ()

    def put_in(self, text: str) -> str:
        """Replace the words of a page; the longest go first, and nothing is replaced twice."""
        words = sorted(self.instead, key=len, reverse=True)
        if not words:
            return text
        return re.sub("|".join(map(re.escape, words)), lambda hit: self.instead[hit[0]], text)


@cache
def places() -> Mapping[str, Place]:
    """Every place, by name."""
    with Path(__file__).with_name("places.toml").open("rb") as file:
        table = tomllib.load(file)
    everywhere = table.pop("everywhere")["instead"]
    return {
        name: Place(
            name,
            entry["about"],
            entry["suite"],
            entry["minutes"],
            {**everywhere, **entry["instead"]},
            tuple(entry.get("needs", ())),
        )
        for name, entry in table.items()
    }


def everywhere() -> Mapping[str, str]:
    """What is put in the place of words in every place."""
    with Path(__file__).with_name("places.toml").open("rb") as file:
        instead: Mapping[str, str] = tomllib.load(file)["everywhere"]["instead"]
    return instead
