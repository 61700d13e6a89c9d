"""From a shard's data to one ingredient: what it depends on, what it needs, what it refuses.

Invariants 6, 17.
"""

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from structlog.testing import capture_logs
from tests.tiny import UNET_WEIGHTS, a_base, some_data
from tests.training.runs import STEPS, Ground, Watched, a_training, in_a_child
from tests.training.test_records import a_tar

from stockpot.api.results import TrainResult
from stockpot.api.runspec import Location, Place, StoreRef
from stockpot.diffusion.records import list_records
from stockpot.errors import ExitCode, Refused, StockpotError
from stockpot.metrics.progress import Progress
from stockpot.store.keys import Keys
from stockpot.store.open import open_store
from stockpot.store.tombstones import leave_out_at_least
from stockpot.store.weights import inspect_weights
from stockpot.training.run import run


@pytest.fixture
def ground(tmp_path: Path, base: Path, data: Path) -> Ground:
    return Ground(tmp_path, base, data)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, base: Path, data: Path) -> Ground:
    """A ground where the default training was done: `its_result`."""
    return Ground(tmp_path_factory.mktemp("whole"), base, data)


@pytest.fixture(scope="module")
def its_result(whole: Ground) -> TrainResult:
    return whole.train()


def refusal(ground: Ground, **fields: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        ground.train(**fields)
    assert caught.value.help
    assert not [path for path in ground.work.rglob("*") if path.is_file()]
    return caught.value


# What comes out


def test_an_ingredient_is_admissible_and_its_manifest_names_its_inputs(
    whole: Ground, its_result: TrainResult
) -> None:
    weights = whole.weights(its_result)
    admitted = inspect_weights(weights)
    manifest = json.loads((weights.parent / "manifest.json").read_text())

    assert admitted.digest == its_result.weights_digest == manifest["digest"]
    assert admitted.facts.dtype == "F16"
    assert its_result.records == manifest["records"] == 12
    assert manifest["kind"] == "Ingredient"
    assert manifest["lineage"] == [{"shard": "food-uid", "trainingKey": its_result.training_key}]
    assert manifest["baseDigest"] == its_result.base_digest
    assert manifest["dataDigest"] == its_result.data_digest
    assert manifest["facts"]["steps"] == str(STEPS)
    assert not its_result.reused


def test_plain_diffusers_loads_an_ingredient(
    whole: Ground, its_result: TrainResult, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_bytes((whole.base / "unet/config.json").read_bytes())
    (tmp_path / "diffusion_pytorch_model.safetensors").write_bytes(
        whole.weights(its_result).read_bytes()
    )

    unet = UNet2DConditionModel.from_pretrained(tmp_path, local_files_only=True)

    assert unet.num_parameters() == 251580


def test_training_a_second_time_finds_it_trained(whole: Ground, its_result: TrainResult) -> None:
    watched = Watched(int)

    again = whole.train(watched)

    assert again == its_result.model_copy(update={"reused": True})
    assert watched.phases == ["reading"]


def test_an_ingredient_that_was_cut_short_is_trained_again(
    ground: Ground, its_result: TrainResult
) -> None:
    first = ground.train()
    ground.weights(first).write_bytes(b"short")

    again = ground.train()

    assert not again.reused
    assert again.weights_digest == its_result.weights_digest
    assert inspect_weights(ground.weights(again)).digest == its_result.weights_digest


def test_equal_data_trains_to_equal_bytes_in_another_process_store_and_shard(
    ground: Ground, its_result: TrainResult
) -> None:
    other = in_a_child(ground.spec(shard="fruit"), ground.work).result()

    assert other.weights_digest == its_result.weights_digest
    assert other.training_key == its_result.training_key


def test_a_tar_in_another_order_trains_to_the_bytes_of_the_folder(
    ground: Ground, its_result: TrainResult, tmp_path: Path
) -> None:
    a_tar(ground.data, tmp_path / "tar/a.tar", reverse=True)

    result = Ground(ground.folder, ground.base, tmp_path / "tar").train()

    assert result.data_digest == its_result.data_digest
    assert result.weights_digest == its_result.weights_digest


def test_data_may_lie_in_the_store_and_no_copy_of_it_stays(
    ground: Ground, its_result: TrainResult
) -> None:
    spec = ground.spec(source=Location(place=Place.STORE, path="data/food/"))
    some_data(ground.store / "data/food")

    result = run(spec, work=ground.work, progress=Progress(), stop=threading.Event())

    assert result.weights_digest == its_result.weights_digest
    assert not [path for path in ground.work.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "fields",
    [
        {"seed": 1},
        {"random_flip": False},
        {"proportion_empty_prompts": "0.5"},
        {"ema": {"decay": "0.9", "publish": False}},
        {"snr_gamma": None},
        {"gradient_accumulation_steps": 2},
    ],
)
def test_a_field_that_changes_bytes_changes_them_and_the_key(
    ground: Ground, its_result: TrainResult, fields: dict[str, Any]
) -> None:
    result = ground.train(training=a_training(**fields))

    assert result.training_key != its_result.training_key
    assert result.weights_digest != its_result.weights_digest


@pytest.mark.parametrize("fields", [{"checkpointing_steps": 100}, {"gradient_checkpointing": True}])
def test_a_field_that_is_not_in_the_key_changes_no_byte(
    ground: Ground, its_result: TrainResult, fields: dict[str, Any]
) -> None:
    result = ground.train(training=a_training(**fields))

    assert result.training_key == its_result.training_key
    assert result.weights_digest == its_result.weights_digest


def test_a_training_in_brain_floats_stays_near_the_base_and_publishes_its_own_kind(
    ground: Ground,
) -> None:
    training = a_training(mixed_precision="bf16", publish_dtype="bf16")

    result = in_a_child(ground.spec(training=training), ground.work).result()

    assert inspect_weights(ground.weights(result)).facts.dtype == "BF16"
    trained = load_file(ground.weights(result))
    reference = load_file(ground.base / UNET_WEIGHTS)
    assert all((trained[key].float() - reference[key]).abs().max() < 0.1 for key in trained)


def test_it_overfits_one_record(ground: Ground, tmp_path: Path) -> None:
    losses: list[float] = []
    progress = Watched(lambda _: losses.append(progress.snapshot().figures["loss"]))
    small = Ground(ground.folder, ground.base, some_data(tmp_path / "one", n=1))

    small.train(
        progress,
        training=a_training(
            max_train_steps=120,
            checkpointing_steps=1000,
            random_flip=False,
            proportion_empty_prompts="0",
            optimizer={"options": {"learningRate": "4e-3"}},
        ),
    )

    # The running loss lags by about fifty steps.
    assert losses[-1] < losses[0] / 3


def test_progress_names_the_phases_and_figures(ground: Ground) -> None:
    watched = Watched(int)

    ground.train(watched)

    assert watched.phases == ["reading", "encoding", "training", "publishing"]
    assert set(watched.snapshot().figures) == {"loss", "learning_rate", "images_per_s"}


# What is refused


def test_data_of_another_digest_than_the_named_one_is_refused(
    ground: Ground, its_result: TrainResult
) -> None:
    error = refusal(ground, data_digest="sha256:" + "0" * 64)

    assert error.exit_code == ExitCode.WRONG_DIGEST
    assert str(its_result.data_digest) in error.message


def corrupt(folder: Path, count: int) -> None:
    for number in range(count):
        (folder / f"{number:04d}.png").write_bytes(f"broken {number}".encode())


def test_too_many_corrupt_pictures_are_refused_by_name_and_count(
    ground: Ground, tmp_path: Path
) -> None:
    data = some_data(tmp_path / "bad")
    corrupt(data, 2)

    error = refusal(
        Ground(ground.folder, ground.base, data), training=a_training(max_corrupt_percent=16)
    )

    assert error.exit_code == ExitCode.BAD_DATA
    assert error.message.startswith("2 of 12 pictures cannot be read, and 16 % may be so: ")
    assert "0000.png" in error.message
    assert "0001.png" in error.message


def test_a_few_corrupt_pictures_are_left_out_with_a_log_line(
    ground: Ground, tmp_path: Path
) -> None:
    data = some_data(tmp_path / "bad")
    corrupt(data, 2)

    with capture_logs() as logs:
        result = Ground(ground.folder, ground.base, data).train(
            training=a_training(max_corrupt_percent=17)
        )

    left_out = [line["picture"] for line in logs if line["event"] == "Left a picture out"]
    assert result.records == 10
    assert len(left_out) == 2


def test_a_loss_that_is_no_number_ends_the_training_and_names_the_step(ground: Ground) -> None:
    training = a_training(
        max_train_steps=60, optimizer={"options": {"learningRate": "1e30", "maxGradNorm": "1e9"}}
    )

    error = refusal(ground, training=training)

    assert error.exit_code == ExitCode.DIVERGED
    assert "is not a finite number in step" in error.message
    assert "learningRate" in error.help
    assert not [key for key in ground.stored() if key.endswith("model.safetensors")]


def test_weights_that_do_not_fit_into_fp16_are_not_published(
    ground: Ground, tmp_path: Path
) -> None:
    large = a_base(tmp_path / "large")
    weights = load_file(large / UNET_WEIGHTS)
    weights["time_embedding.linear_1.bias"][3] = 1e6
    save_file(weights, large / UNET_WEIGHTS)

    error = refusal(Ground(ground.folder, large, ground.data))

    assert error.exit_code == ExitCode.DIVERGED
    assert "time_embedding.linear_1.bias" in error.message
    assert not [key for key in ground.stored() if key.endswith("model.safetensors")]


def test_records_are_left_out_as_if_they_had_never_been_there(
    ground: Ground, tmp_path: Path
) -> None:
    there = list_records(ground.data)
    less = tmp_path / "less"
    shutil.copytree(ground.data, less)
    lines = (less / "metadata.jsonl").read_text().splitlines()
    rest = [line for line in lines if f'"{there[0].name}"' not in line]
    (less / "metadata.jsonl").write_text("\n".join(rest))
    brief = a_training(max_train_steps=2)

    without = ground.train(training=brief, exclude_records=(there[0].name,), shard="one")
    never = ground.train(
        training=brief, source=Location(place=Place.FOLDER, path=str(less)), shard="two"
    )

    assert len(rest) == len(lines) - 1
    assert without.weights_digest == never.weights_digest
    assert (without.records, without.training_key) == (len(rest), never.training_key)
    with pytest.raises(Refused, match=r"called nobody\.png") as refused:
        ground.train(training=brief, exclude_records=("nobody.png",))
    assert refused.value.exit_code is ExitCode.BAD_DATA


def test_a_training_that_was_asked_for_before_records_left_is_refused(ground: Ground) -> None:
    store = open_store(StoreRef(url=ground.store.as_uri()))
    leave_out_at_least(store, Keys("ml"), "food-uid", 1)

    with pytest.raises(Refused, match="is trained without 1 records") as refused:
        ground.train()

    assert refused.value.exit_code is ExitCode.FORGOTTEN


def test_a_forgotten_shard_is_not_trained(ground: Ground) -> None:
    forget(ground)

    error = refusal(ground)

    assert error.exit_code == ExitCode.FORGOTTEN
    assert ground.stored() == ["ml/tombstones/food-uid"]


@pytest.mark.parametrize("step", [1, STEPS])
def test_a_shard_that_is_forgotten_meanwhile_is_not_written(ground: Ground, step: int) -> None:
    with pytest.raises(Refused) as caught:
        ground.train(Watched(lambda done: forget(ground) if done == step else None))

    assert caught.value.exit_code == ExitCode.FORGOTTEN
    assert not [key for key in ground.stored() if key.endswith("model.safetensors")]
    if step == 1:
        assert ground.stored() == ["ml/tombstones/food-uid"]


def forget(ground: Ground) -> None:
    tombstone = ground.store / "ml/tombstones/food-uid"
    tombstone.parent.mkdir(parents=True, exist_ok=True)
    tombstone.write_bytes(b"{}")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"method": {"name": "LoRa"}},
            "There is no training method LoRa; there is FineTune, LoRA.",
        ),
        ({"method": {"name": "FineTune", "options": {"rank": "4"}}}, "no option rank"),
        ({"optimizer": {"name": "Lion"}}, "There is no optimizer Lion; there is AdamW."),
        ({"optimizer": {"options": {"lr": "1"}}}, "AdamW has no option lr; its options are"),
        ({"optimizer": {"options": {"beta1": "x"}}}, "beta1 is 'x', which is no decimal number"),
        ({"optimizer": {"options": {"beta2": "1"}}}, "beta2 is 1; it must be below 1"),
        ({"optimizer": {"options": {"learningRate": "0"}}}, "learningRate is 0; it must be above"),
        ({"mixed_precision": "fp16"}, "mixedPrecision fp16 needs a GPU"),
        ({"resolution": 18}, "A resolution of 18 pixels is no multiple of 4"),
    ],
)
def test_an_unknown_name_or_option_is_refused_with_the_known_ones(
    ground: Ground, fields: dict[str, Any], words: str
) -> None:
    if "mixed_precision" in fields and torch.cuda.is_available():
        pytest.skip("a GPU can do that")

    error = refusal(ground, training=a_training(**fields))

    assert error.exit_code == ExitCode.BAD_RUN_SPEC
    assert words in error.message


def test_a_run_that_is_asked_to_end_while_it_reads_ends(ground: Ground) -> None:
    stop = threading.Event()
    stop.set()

    with pytest.raises(StockpotError) as caught:
        run(ground.spec(), work=ground.work, progress=Progress(), stop=stop)

    assert caught.value.exit_code == ExitCode.INTERRUPTED


def test_a_base_whose_weights_do_not_fit_its_configuration_is_refused(
    ground: Ground, tmp_path: Path
) -> None:
    damaged = a_base(tmp_path / "damaged")
    weights: dict[str, torch.Tensor] = load_file(damaged / UNET_WEIGHTS)
    del weights["conv_in.bias"]
    weights["conv_out.bias"] = weights["conv_out.bias"][:5].clone()
    save_file(weights, damaged / UNET_WEIGHTS)

    error = refusal(Ground(ground.folder, damaged, ground.data))

    assert error.exit_code == ExitCode.BAD_WEIGHTS
    assert "conv_in.bias is absent and should be 16" in error.message
    assert "conv_out.bias is 5 and should be 12" in error.message
