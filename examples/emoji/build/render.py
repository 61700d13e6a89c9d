"""From a vendor's SVG bodies to small pictures on white. Others decide which ones are wanted."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import resvg_py
from concepts import Concept, slug
from fetch import read_json
from PIL import Image
from sources import VENDORS

SIZE_PX = 32
OVERSAMPLING = 4


@dataclass(frozen=True)
class Drawing:
    """One concept as one vendor draws it: RGB, SIZE_PX by SIZE_PX."""

    concept: Concept
    picture: Image.Image


def drawings(vendor: str, wanted: Sequence[Concept]) -> tuple[list[Drawing], int]:
    """What the vendor has of these concepts, in their order, and how many failed to render."""
    icons = read_json(VENDORS[vendor], "icons.json")
    by_code = read_json(VENDORS[vendor], "chars.json")
    by_name = {_squashed(name): name for name in (*icons["icons"], *icons.get("aliases", {}))}
    pictures, failed = [], 0
    for concept in wanted:
        names = (
            by_code.get(concept.code),
            by_code.get(concept.code.replace("-fe0f", "")),
            by_name.get(_squashed(slug(concept.label))),
        )
        svg = next((text for name in names if name and (text := _svg(icons, name))), None)
        if svg is None:
            continue
        try:
            pictures.append(Drawing(concept, picture(svg)))
        except (ValueError, OSError) as error:
            failed += 1
            print(f"{vendor}: {concept.label} does not render: {error}")
    return pictures, failed


def picture(svg: str) -> Image.Image:
    """Render, centre in a square, put on white, and average down to SIZE_PX."""
    size_px = SIZE_PX * OVERSAMPLING
    data = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=size_px, height=size_px))
    drawn = Image.open(io.BytesIO(data)).convert("RGBA")
    side = max(drawn.size)
    canvas = Image.new("RGBA", (side, side), "white")
    canvas.alpha_composite(drawn, ((side - drawn.width) // 2, (side - drawn.height) // 2))
    if side != size_px:
        canvas = canvas.resize((size_px, size_px), Image.Resampling.BOX)
    return canvas.convert("RGB").reduce(OVERSAMPLING)


def _svg(icons: dict[str, Any], name: str) -> str | None:
    """The icon as a document; None when it is absent or an alias that would transform another."""
    icon = icons["icons"].get(name)
    if icon is None:
        alias = icons.get("aliases", {}).get(name)
        return _svg(icons, alias["parent"]) if alias and set(alias) == {"parent"} else None
    width, height = (icon.get(key, icons.get(key, 16)) for key in ("width", "height"))
    box = f"{icon.get('left', 0)} {icon.get('top', 0)} {width} {height}"
    namespaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    body = icon["body"].replace("currentColor", "#000")
    return f'<svg {namespaces} viewBox="{box}" width="{width}" height="{height}">{body}</svg>'


def _squashed(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name)
