"""A perceptual hash of a picture: nearly the same when the picture is scaled or saved again.

A difference hash ("dHash", Neal Krawetz, 2013) of 128 bits: whether brightness rises from each of 8
by 8 places to the next, to the right and downwards. Rises of less than a step count as none, so
that the noise of JPEG in a flat area changes nothing. Likeness is a hint for a person and decides
nothing: `stockpot.unlearning.similar_records` says how far apart two hashes may be.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 8
STEP = 8
"""The least rise of brightness that counts, of 255."""
LIKENESS_BYTES = 2 * SIDE * SIDE // 8


def likeness_of(picture: Image.Image) -> bytes:
    """Compute the perceptual hash of a picture in RGB or grey: 16 bytes."""
    grey = picture.convert("L")
    right = _pixels(grey, SIDE + 1, SIDE)
    down = _pixels(grey, SIDE, SIDE + 1)
    rises = np.concatenate(
        [(np.diff(right, axis=1) >= STEP).ravel(), (np.diff(down, axis=0) >= STEP).ravel()]
    )
    return np.packbits(rises).tobytes()


def _pixels(grey: Image.Image, width: int, height: int) -> NDArray[np.int16]:
    small = grey.resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(small, dtype=np.int16)
