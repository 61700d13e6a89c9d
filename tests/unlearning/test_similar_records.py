"""Pictures that look alike and are other files are counted apart from those that are the same."""

import random
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from stockpot.core.digests import Digest, digest_of_bytes
from stockpot.diffusion.likeness import LIKENESS_BYTES, likeness_of
from stockpot.store.record_list import ListedRecord
from stockpot.unlearning.similar_records import (
    MOST_BITS_APART,
    likenesses_of,
    similar_pictures,
)

Edit = Callable[[Image.Image], Image.Image]


def a_photograph(seed: int, side: int = 256) -> Image.Image:
    """Return a picture with structure at several scales, as photographs have it."""
    dice = np.random.default_rng(seed)
    picture = np.zeros((side, side, 3))
    for cells in (2, 4, 8, 32):
        noise = Image.fromarray(dice.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        layer = noise.resize((side, side), Image.Resampling.BICUBIC)
        picture += np.asarray(layer, dtype=float) / cells
    spread = picture.max() - picture.min()
    return Image.fromarray(((picture - picture.min()) / spread * 255).astype(np.uint8))


def saved(form: str, quality: int) -> Edit:
    def edit(picture: Image.Image) -> Image.Image:
        picture.save(file := BytesIO(), form, quality=quality)
        return Image.open(file).convert("RGB")

    return edit


EDITS: dict[str, Edit] = {
    "halved": lambda picture: picture.resize((128, 128), Image.Resampling.BICUBIC),
    "doubled": lambda picture: picture.resize((512, 512), Image.Resampling.LANCZOS),
    "JPEG of quality 60": saved("JPEG", 60),
    "WebP of quality 75": saved("WEBP", 75),
    "thumbnail as JPEG": lambda picture: saved("JPEG", 75)(picture.resize((64, 64))),
}


def listed(name: str, likeness: str) -> ListedRecord:
    return ListedRecord(name, digest_of_bytes(name.encode()), digest_of_bytes(b"any"), likeness)


def bits_apart(left: bytes, right: bytes) -> int:
    return (int.from_bytes(left) ^ int.from_bytes(right)).bit_count()


@pytest.mark.parametrize("name", EDITS)
def test_a_picture_that_was_scaled_or_saved_again_looks_alike(name: str) -> None:
    for seed in range(20):
        picture = a_photograph(seed)

        apart = bits_apart(likeness_of(picture), likeness_of(EDITS[name](picture)))

        assert apart <= MOST_BITS_APART, seed


def test_other_pictures_do_not() -> None:
    hashes = [likeness_of(a_photograph(seed)) for seed in range(40)]

    nearest = min(bits_apart(a, b) for n, a in enumerate(hashes) for b in hashes[:n])

    assert nearest > 2 * MOST_BITS_APART


def test_a_picture_without_structure_is_compared_with_none() -> None:
    flat = likeness_of(Image.new("RGB", (64, 64), "white")).hex()

    assert likenesses_of([listed("flat", flat), listed("none", "")]) == {}


def test_pictures_that_are_the_same_file_are_not_counted_again() -> None:
    hashes = [likeness_of(a_photograph(seed)).hex() for seed in range(3)]
    own = likenesses_of(listed(name, h) for name, h in zip("abc", hashes, strict=True))
    theirs = likenesses_of([listed("a", hashes[0]), listed("b again", hashes[1])])

    assert similar_pictures(own, theirs) == {digest_of_bytes(b"b")}
    assert similar_pictures({}, theirs) == similar_pictures(own, {}) == frozenset()


def test_it_counts_as_the_definition_does() -> None:
    dice = random.Random(5)
    base = dice.getrandbits(128)
    own = {digest(n): with_flipped(base, dice, n % 14) for n in range(600)}
    theirs = {digest(n): with_flipped(base, dice, n % 9) for n in range(900, 1100)}

    expected = {
        picture
        for picture, mine in own.items()
        if any((int(mine, 16) ^ int(other, 16)).bit_count() <= 6 for other in theirs.values())
    }

    assert 0 < len(expected) < len(own)
    assert similar_pictures(own, theirs) == expected


def digest(number: int) -> Digest:
    return digest_of_bytes(str(number).encode())


def with_flipped(value: int, dice: random.Random, count: int) -> str:
    for place in dice.sample(range(128), count):
        value ^= 1 << place
    return value.to_bytes(LIKENESS_BYTES).hex()
