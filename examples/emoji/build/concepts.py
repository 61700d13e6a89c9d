"""What the pictures show: labels, captions, groups, and which concepts are held out.

Pure functions of the label and keywords, so that the same concept has the same caption and is
held out alike in every vendor's set, on every machine.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from fetch import read_json
from sources import CAPTIONS, GROUPS


@dataclass(frozen=True)
class Concept:
    """One emoji, however drawn.

    Attributes:
        label: Its CLDR short name, such as "red apple": the caption that people write.
        keywords: CLDR keywords that are single words and not in the label.
        group: One of the five of ``GROUPS``.
        code: Code points in hexadecimal, lower case, such as "1f34e".
    """

    label: str
    keywords: tuple[str, ...]
    group: str
    code: str

    @property
    def slug(self) -> str:
        """The label as a file name without its ending."""
        return slug(self.label)

    @property
    def held_out(self) -> bool:
        """Whether no shard may hold it, in any style: a tenth of the labels."""
        return is_held_out(self.label)

    @property
    def variants(self) -> tuple[str, str, str]:
        """The label alone, and twice with two of its keywords where it has any."""
        first, second = self.keywords[:2], self.keywords[2:4]
        return (
            self.label,
            ", ".join((self.label, *first)),
            ", ".join((self.label, *(second or first))),
        )

    @property
    def caption(self) -> str:
        """What a shard says of it: for half of the labels keywords as well."""
        return self.variants[_digest(f"caption {self.label}")[0] % 2]


def concepts() -> list[Concept]:
    """Every concept of the five groups, without skin tones, in Unicode's order."""
    names = read_json(CAPTIONS, "meta/groups.json")["groups"]
    entries = read_json(CAPTIONS, "en/data.json")
    concepts = [
        _concept(entry, GROUPS[name]) for entry in entries if (name := _group(entry, names))
    ]
    slugs = {concept.slug for concept in concepts}
    if len(slugs) != len(concepts):
        raise SystemExit("Two concepts share a file name.")
    return concepts


def is_held_out(label: str) -> bool:
    """Whether the first eight bytes of the label's SHA-256, big-endian, are divisible by ten."""
    return int.from_bytes(_digest(label)[:8], "big") % 10 == 0


def slug(label: str) -> str:
    """The label in a-z, 0-9 and hyphens."""
    plain = label.lower().translate({ord("\u2019"): None, ord("'"): None, ord("ñ"): "n"})
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


def _group(entry: dict[str, Any], names: dict[str, str]) -> str | None:
    name = names.get(str(entry.get("group")))
    return name if name in GROUPS else None


def _concept(entry: dict[str, Any], group: str) -> Concept:
    label = entry["label"]
    words = {word for word in entry.get("tags", []) if word.isalpha() and word not in label}
    ordered = sorted(words, key=lambda word: _digest(f"{label} {word}"))
    return Concept(label, tuple(ordered), group, entry["hexcode"].lower())


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
