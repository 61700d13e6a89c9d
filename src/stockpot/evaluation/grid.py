"""Draw a contact sheet: rows of pictures with titles. Needs Pillow alone."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_GROUND = "#ffffff"
_INK = "#33302c"
_FAINT = "#7d766d"
_FRAME = "#e4dfd8"
_TEXT_PIXELS = 15
_GAP_PIXELS = 6
_MARGIN_PIXELS = 14


def labelled_grid(
    rows: Mapping[str, Sequence[NDArray[np.uint8]]], columns: Sequence[str], scale: int = 3
) -> Image.Image:
    """Lay pictures out in rows, each with its title to the left, each column with its own above.

    Args:
        rows: Pictures (H, W, 3) by the title of their row; at least one, all of one size, as many
            in each row as there are columns, or fewer.
        columns: The titles of the columns; may be empty texts.
        scale: How many pixels each pixel becomes, along each side; without smoothing.

    Returns:
        The sheet, in RGB.
    """
    height, width = (scale * side for side in next(iter(rows.values()))[0].shape[:2])
    font = ImageFont.load_default(_TEXT_PIXELS)
    titles = int(max(font.getlength(title) for title in rows))
    left = _MARGIN_PIXELS + (titles + 2 * _GAP_PIXELS if titles else 0)
    top = _MARGIN_PIXELS + (_TEXT_PIXELS + 2 * _GAP_PIXELS if any(columns) else 0)
    # A column is as wide as its title needs: one that is cut off names nothing.
    widest = int(max((font.getlength(title) for title in columns), default=0))
    across, down = max(width, widest) + _GAP_PIXELS, height + _GAP_PIXELS
    size = (
        left + across * len(columns) - _GAP_PIXELS + _MARGIN_PIXELS,
        top + down * len(rows) - _GAP_PIXELS + _MARGIN_PIXELS,
    )
    sheet = Image.new("RGB", size, _GROUND)
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(columns):
        middle = left + column * across + (across - _GAP_PIXELS) / 2
        draw.text((middle, top - _GAP_PIXELS), title, _FAINT, font, anchor="mb")
    for row, (title, pictures) in enumerate(rows.items()):
        y = top + row * down
        end = (left - 2 * _GAP_PIXELS, y + height / 2)
        draw.text(end, title, _INK, font, anchor="rm")
        for column, picture in enumerate(pictures):
            x = left + column * across + (across - _GAP_PIXELS - width) // 2
            large = Image.fromarray(picture).resize((width, height), Image.Resampling.NEAREST)
            sheet.paste(large, (x, y))
            draw.rectangle((x - 1, y - 1, x + width, y + height), outline=_FRAME)
    return sheet
