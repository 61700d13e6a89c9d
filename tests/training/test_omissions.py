"""The result of a training counts and names data that was not used exactly as given."""

import json
import shutil
from pathlib import Path

import pytest
from tests.diffusion.pictures import animated
from tests.tiny import PROMPT_TOKENS, some_data
from tests.training.runs import Ground, Watched, a_training

from stockpot.api.manifest import Manifest
from stockpot.api.omissions import OmissionReason
from stockpot.api.results import ResultMessage, TrainResult
from stockpot.diffusion.likeness import likeness_of
from stockpot.diffusion.records import list_records
from stockpot.errors import Refused

REFERENCE = Path(__file__).parents[2] / "docs/reference/data.md"
BRIEF = a_training(max_train_steps=2, max_corrupt_percent=20)
LONG = "a big red circle " * 3


@pytest.fixture
def ground(tmp_path: Path, base: Path) -> Ground:
    return Ground(tmp_path, base, some_data(tmp_path / "data"))


def counts(result: TrainResult) -> dict[str, int]:
    return {omission.reason: omission.count for omission in result.omissions}


def describe(ground: Ground, name: str, caption: str) -> None:
    """Give a picture another caption."""
    metadata = ground.data / "metadata.jsonl"
    fields = [json.loads(line) for line in metadata.read_text().splitlines()]
    changed = [{**line, "text": caption} if line["file_name"] == name else line for line in fields]
    metadata.write_text("".join(json.dumps(line) + "\n" for line in changed))


def test_data_that_is_used_as_it_is_has_nothing_to_say(ground: Ground) -> None:
    result = ground.train(training=BRIEF)

    assert result.omissions == ()
    assert "omissions" not in json.loads(result.message().model_dump_json(by_alias=True))


def test_every_kind_of_omission_is_counted_and_named_in_both_attempts(ground: Ground) -> None:
    (ground.data / "0000.png").write_bytes(b"broken")
    (ground.data / "0001.png").write_bytes(animated("GIF"))
    (ground.data / "unlisted.png").write_bytes(b"x")
    (ground.data / "notes.md").write_text("x")
    describe(ground, "0002.png", LONG)
    describe(ground, "0003.png", "a purple elephant")

    result = ground.train(training=BRIEF)
    again = ground.train(training=BRIEF)

    examples = {omission.reason: omission.examples for omission in result.omissions}
    assert counts(result) == dict.fromkeys(examples, 1)
    assert examples["CorruptPicture"] == (
        "0000.png (it is none of PNG, JPEG, WEBP, GIF, BMP, TIFF)",
    )
    assert examples["UnlistedPicture"] == ("unlisted.png",)
    assert examples["ExtraFrames"] == ("0001.png",)
    assert examples["CutCaption"] == (f"0002.png (14 tokens, of which {PROMPT_TOKENS} are read)",)
    assert examples["UnknownWords"] == ("0003.png",)
    assert examples["OtherFile"] == ("notes.md",)
    assert result.records == 11
    assert again.reused
    assert again.omissions == result.omissions


def test_a_resumed_training_reports_omissions_of_the_first_attempt(
    ground: Ground,
) -> None:
    (ground.data / "0000.png").write_bytes(b"broken")
    describe(ground, "0002.png", LONG)
    uninterrupted = Ground(ground.folder / "other", ground.base, ground.data).train(training=BRIEF)

    class Killed(Exception):
        pass

    def kill(step: int) -> None:
        raise Killed(step)

    with pytest.raises(Killed):
        ground.train(Watched(kill), training=BRIEF)
    assert list(ground.work.rglob("encoded-*.safetensors"))

    assert ground.train(training=BRIEF).omissions == uninterrupted.omissions


def test_copies_of_a_record_that_is_left_out_are_left_out_and_counted(ground: Ground) -> None:
    record = list_records(ground.data)[0]
    shutil.copy(ground.data / record.name, ground.data / "copy.png")
    with (ground.data / "metadata.jsonl").open("a") as metadata:
        metadata.write(json.dumps({"file_name": "copy.png", "text": record.caption}) + "\n")

    result = ground.train(training=BRIEF, exclude_records=(record.name,))

    assert result.records == 11
    assert [(o.reason, o.examples) for o in result.omissions] == [("ExcludedCopy", ("copy.png",))]
    manifests = [path.read_text() for path in ground.store.rglob("manifest.json")]
    assert manifests
    assert not [text for text in manifests if "copy.png" in text], "it would outlive its receipt"


def test_a_copy_under_another_caption_is_left_out_as_well(ground: Ground) -> None:
    record = list_records(ground.data)[0]
    shutil.copy(ground.data / record.name, ground.data / "copy.png")
    with (ground.data / "metadata.jsonl").open("a") as metadata:
        metadata.write(json.dumps({"file_name": "copy.png", "text": "another caption"}) + "\n")

    by_name = ground.train(training=BRIEF, exclude_records=(record.name,))
    by_picture = ground.train(training=BRIEF, exclude_records=(record.picture,))

    assert by_name.records == by_picture.records == 11
    assert [(o.reason, o.count) for o in by_name.omissions] == [("ExcludedCopy", 1)]
    assert by_picture.weights_digest == by_name.weights_digest


def test_the_records_of_a_training_are_listed_under_its_lineage(ground: Ground) -> None:
    records = list_records(ground.data)

    result = ground.train(training=BRIEF, exclude_records=(records[0].name,))

    weights = ground.weights(result)
    text = (weights.parent / "records.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    manifest = Manifest.model_validate_json((weights.parent / "manifest.json").read_text())
    assert manifest.files == (weights.name, "records.jsonl")
    assert [
        (line["fileName"], line["picture"], line["record"], line["likeness"]) for line in lines
    ] == [
        (record.name, record.picture, record.digest, likeness_of(record.decode()).hex())
        for record in records[1:]
    ]


def test_a_record_that_left_for_good_may_be_missing_and_a_misspelt_one_may_not(
    ground: Ground,
) -> None:
    gone = ("deleted at the source.png",)

    with pytest.raises(Refused, match=r"No record of the data is called deleted at"):
        ground.train(training=BRIEF, exclude_records=gone)
    result = ground.train(training=BRIEF, exclude_records=gone, gone_records=gone)

    assert result.records == 12


def test_results_and_manifests_of_older_versions_are_read() -> None:
    result = ResultMessage.model_validate_json('{"reused": false, "records": 3, "figures": {}}')
    manifest = Manifest.model_validate_json('{"version": 1, "kind": "Ingredient"}')

    assert result.omissions == manifest.omissions == ()
    assert "omissions" not in manifest.model_dump_json()


def test_the_reference_names_every_reason() -> None:
    rows = [line.split("|")[1:3] for line in REFERENCE.read_text().splitlines() if "|" in line]
    listed = {name.strip(" `"): meaning.strip() for name, meaning in rows}

    for reason in OmissionReason:
        assert listed[reason.value].lower().startswith(reason.meaning.lower()), reason
