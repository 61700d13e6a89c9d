"""What style figures say of pictures that one knows."""

import numpy as np
import pytest

from stockpot.evaluation.style import dark_share, prompts_of, saturation


def a_picture(*colours: tuple[int, int, int]) -> np.ndarray:
    """A row of pixels of these colours."""
    return np.array([[colours]], dtype=np.uint8)


@pytest.mark.parametrize(
    ("colours", "colourful", "dark"),
    [
        ([(255, 0, 0), (0, 0, 255)], 1.0, 0.0),
        ([(255, 255, 255), (90, 90, 90)], 0.0, 0.0),
        ([(0, 0, 0), (255, 255, 255)], 0.0, 0.5),
        ([(200, 100, 100)], 0.5, 0.0),
        ([(63, 63, 63), (64, 0, 0)], 0.5, 0.5),
    ],
)
def test_pictures_are_as_colourful_and_dark_as_they_look(
    colours: list[tuple[int, int, int]], colourful: float, dark: float
) -> None:
    picture = a_picture(*colours)

    assert saturation(picture) == [pytest.approx(colourful)]
    assert dark_share(picture) == [pytest.approx(dark)]


def test_prompts_go_round_until_there_are_enough() -> None:
    assert prompts_of(" a cat | a dog |", 3) == ["a cat", "a dog", "a cat"]
    assert prompts_of("", 3) == []
