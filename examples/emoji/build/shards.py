"""Write the example's shards as imagefolders: pictures beside a metadata.jsonl.

Which vendor and group goes where is decided here; drawing and captions are not. The same packages
give the same bytes. Folders are replaced whole, so that no picture of an earlier run stays behind.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from concepts import Concept, concepts
from render import Drawing, drawings
from sources import GROUPS, VENDORS

DATA = Path(__file__).parents[1] / "data"
DOMAIN_VENDOR = "fluent-emoji-flat"
HELD_OUT = "heldout"
# Enough to learn a style from, few enough for a repository.
LARGEST_STYLE = 240
STYLE_VENDORS = {"ink": "fluent-emoji-high-contrast", "outline": "streamline-emojis"}


class Shard(NamedTuple):
    """A folder of the example's data: its name, its vendor, and what it holds."""

    name: str
    vendor: str
    drawings: tuple[Drawing, ...]


def shards() -> list[Shard]:
    """Five domains of one vendor, two styles of others, and what is held out of all of them."""
    wanted = concepts()
    flat = _rendered(DOMAIN_VENDOR, wanted)
    kept = [drawing for drawing in flat if not drawing.concept.held_out]
    made = [
        Shard(group, DOMAIN_VENDOR, tuple(d for d in kept if d.concept.group == group))
        for group in sorted(GROUPS.values())
    ]
    allowed = [concept for concept in wanted if not concept.held_out]
    for style, vendor in STYLE_VENDORS.items():
        made.append(Shard(style, vendor, _some(_rendered(vendor, allowed))))
    left = tuple(drawing for drawing in flat if drawing.concept.held_out)
    return [*made, Shard(HELD_OUT, DOMAIN_VENDOR, left)]


def write(shard: Shard, data: Path) -> None:
    """Replace the shard's folder."""
    partial = data / f".{shard.name}.part"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    lines = []
    named = {f"{drawing.concept.slug}.png": drawing for drawing in shard.drawings}
    for name, drawing in sorted(named.items()):
        drawing.picture.save(partial / name, optimize=True)
        line = {"file_name": name, "text": drawing.concept.caption}
        lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    (partial / "metadata.jsonl").write_text("".join(lines), encoding="utf-8")
    final = data / shard.name
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)


def table(made: Iterable[Shard], data: Path) -> str:
    """What there is, as the table of data/README.md."""
    rows = ["| folder | vendor | licence | pictures | size |", "| --- | --- | --- | ---: | ---: |"]
    for shard in made:
        package = VENDORS[shard.vendor]
        size = sum(file.stat().st_size for file in (data / shard.name).iterdir())
        rows.append(
            f"| `{shard.name}` | {package.credit} | {package.licence} "
            f"| {len(shard.drawings)} | {round(size / 1000)} kB |"
        )
    return "\n".join(rows)


def _rendered(vendor: str, wanted: list[Concept]) -> list[Drawing]:
    pictures, failed = drawings(vendor, wanted)
    print(f"{vendor}: {len(pictures)} pictures, {failed} dropped because they do not render")
    return pictures


def _some(drawn: list[Drawing]) -> tuple[Drawing, ...]:
    """The first LARGEST_STYLE by a hash of the label: from all groups, the same ones every time."""
    return tuple(sorted(drawn, key=_rank)[:LARGEST_STYLE])


def _rank(drawing: Drawing) -> bytes:
    return hashlib.sha256(f"style {drawing.concept.label}".encode()).digest()


def main() -> None:
    """Write all shards and print what they are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA)
    data = parser.parse_args().data
    made = shards()
    for shard in made:
        write(shard, data)
    print(table(made, data))


if __name__ == "__main__":
    main()
