"""The contact sheet."""

import numpy as np
import pytest

from stockpot.evaluation.grid import labelled_grid

RED = np.full((4, 4, 3), (255, 0, 0), dtype=np.uint8)
BLUE = np.full((4, 4, 3), (0, 0, 255), dtype=np.uint8)


def count(sheet: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((sheet == colour).all(-1).sum())


@pytest.mark.parametrize("scale", [1, 3])
def test_every_picture_is_there_pixel_for_pixel(scale: int) -> None:
    sheet = np.asarray(labelled_grid({"r": [RED, RED], "b": [BLUE]}, ["one", "two"], scale))

    assert count(sheet, (255, 0, 0)) == 2 * (4 * scale) ** 2
    assert count(sheet, (0, 0, 255)) == (4 * scale) ** 2


def test_titles_make_room_for_themselves() -> None:
    bare = labelled_grid({"": [RED]}, [""])

    titled = labelled_grid({"a very long title of a row": [RED]}, ["and of a column"])

    assert titled.width > bare.width + 100
    assert titled.height > bare.height
