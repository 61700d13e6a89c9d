"""The example's committed data: well-formed, and nothing held out in any shard."""

import hashlib
import json
from pathlib import Path

import pytest
from PIL import Image

DATA = Path(__file__).parents[2] / "examples" / "emoji" / "data"
SHARDS = ("animals", "food", "ink", "objects", "outline", "smileys", "travel")
FOLDERS = (*SHARDS, "heldout")


def records(folder: str) -> list[dict[str, str]]:
    lines = (DATA / folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def labels(folder: str) -> list[str]:
    """A caption is a label, or a label and keywords after commas; no label of ours has a comma."""
    return [record["text"].split(",")[0] for record in records(folder)]


def is_held_out(label: str) -> bool:
    return int.from_bytes(hashlib.sha256(label.encode()).digest()[:8], "big") % 10 == 0


def test_there_are_these_shards_and_no_others() -> None:
    shards = {file.parent.name for file in DATA.glob("*/metadata.jsonl")}

    assert shards == set(FOLDERS)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_line_names_a_picture_and_every_picture_has_a_line(folder: str) -> None:
    named = [record["file_name"] for record in records(folder)]
    pictures = sorted(file.name for file in (DATA / folder).glob("*.png"))

    assert named == pictures
    assert {file.name for file in (DATA / folder).iterdir()} == {"metadata.jsonl", *pictures}


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_picture_is_32_pixels_square_in_colour_and_not_blank(folder: str) -> None:
    for record in records(folder):
        with Image.open(DATA / folder / record["file_name"]) as picture:
            assert (picture.mode, picture.size) == ("RGB", (32, 32)), record
            extrema = picture.getextrema()
        assert any(low != high for low, high in extrema), f"{record} is blank"


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_record_has_a_caption_of_its_own(folder: str) -> None:
    texts = [record["text"] for record in records(folder)]

    assert all(text == text.strip() != "" for text in texts)
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("shard", SHARDS)
def test_no_held_out_label_is_in_a_shard(shard: str) -> None:
    assert [label for label in labels(shard) if is_held_out(label)] == []


def test_held_out_records_are_chosen_by_hash() -> None:
    assert [label for label in labels("heldout") if not is_held_out(label)] == []
    assert len(labels("heldout")) > 80


def test_about_half_of_the_captions_have_keywords() -> None:
    texts = [record["text"] for folder in SHARDS for record in records(folder)]

    assert 0.35 < sum("," in text for text in texts) / len(texts) < 0.65


def test_a_concept_has_the_same_caption_in_every_style() -> None:
    captions: dict[str, set[str]] = {}
    for folder in FOLDERS:
        for label, record in zip(labels(folder), records(folder), strict=True):
            captions.setdefault(label, set()).add(record["text"])

    assert {label for label, texts in captions.items() if len(texts) > 1} == set()
