"""A training that was cut off ends in the same bytes as one that was not."""

import json
import os
import random
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.training.runs import STEPS, Ground, Watched, in_a_child

from stockpot.api.results import TrainResult
from stockpot.errors import ExitCode, StockpotError
from stockpot.training.run import run

RUN_FOLDER = f"ml/shards/food-uid/runs/{'a' * 64}"


@pytest.fixture
def ground(tmp_path: Path, base: Path, data: Path) -> Ground:
    return Ground(tmp_path, base, data)


@pytest.fixture(scope="module")
def uninterrupted(
    tmp_path_factory: pytest.TempPathFactory, base: Path, data: Path
) -> Iterator[TrainResult]:
    return Ground(tmp_path_factory.mktemp("whole"), base, data).train()


def stopped_after(ground: Ground, step: int) -> StockpotError:
    """Train until the run is stopped in that step."""
    stop = threading.Event()
    progress = Watched(lambda done: stop.set() if done == step else None)
    with pytest.raises(StockpotError) as caught:
        run(ground.spec(), work=ground.work, progress=progress, stop=stop)
    return caught.value


def first_step_of(ground: Ground) -> tuple[int, TrainResult]:
    """Train to the end; return the step it resumed after, and the result."""
    steps: list[int] = []
    result = ground.train(Watched(steps.append))
    return steps[0] - 1, result


# Before the first checkpoint, and somewhere after it: also in the middle of writing one.
@pytest.mark.parametrize("moment", ["in the first step", "in a later one"])
def test_a_killed_training_ends_in_the_same_bytes(
    ground: Ground, uninterrupted: TrainResult, moment: str
) -> None:
    # Drawn here: workers that run tests side by side must see the same names.
    step = 1 if moment == "in the first step" else random.Random().randrange(3, STEPS)
    child = in_a_child(ground.spec(), ground.work)
    child.wait_for(step)

    assert child.process.pid is not None
    os.kill(child.process.pid, signal.SIGKILL)
    child.process.join()
    again = in_a_child(ground.spec(), ground.work).result()

    assert child.process.exitcode == -signal.SIGKILL
    assert again.weights_digest == uninterrupted.weights_digest, f"killed in step {step}"
    assert again.figures["final_loss"] == uninterrupted.figures["final_loss"]


def test_a_training_that_is_asked_to_end_saves_first_and_goes_on_from_there(
    ground: Ground, uninterrupted: TrainResult
) -> None:
    error = stopped_after(ground, 5)

    resumed_after, result = first_step_of(ground)

    assert error.exit_code == ExitCode.INTERRUPTED
    assert "step 5 of 9" in error.message
    assert resumed_after == 5
    assert result.weights_digest == uninterrupted.weights_digest


def test_a_resumed_training_needs_nothing_of_the_scratch_folder(
    ground: Ground, uninterrupted: TrainResult, tmp_path: Path
) -> None:
    stopped_after(ground, 5)

    elsewhere = tmp_path / "another machine"
    result = run(ground.spec(), work=elsewhere, progress=Watched(int), stop=threading.Event())

    assert result.weights_digest == uninterrupted.weights_digest


def test_checkpoints_have_the_shards_lineage_and_go_when_the_run_is_done(ground: Ground) -> None:
    stopped_after(ground, 8)
    left = [key for key in ground.stored() if key.startswith(RUN_FOLDER)]
    manifest = json.loads((ground.store / RUN_FOLDER / "manifest.json").read_text())

    result = ground.train()

    assert [Path(key).name for key in left] == [
        "manifest.json",
        "step-00000006.json",
        "step-00000006.safetensors",
        "step-00000008.json",
        "step-00000008.safetensors",
    ]
    assert manifest["kind"] == "Training"
    assert manifest["lineage"] == [{"shard": "food-uid", "trainingKey": result.training_key}]
    assert not [key for key in ground.stored() if key.startswith(RUN_FOLDER)]
    assert not [path for path in ground.work.rglob("*") if path.is_file()]


def test_a_checkpoint_that_was_cut_short_is_dropped_and_the_one_before_used(
    ground: Ground, uninterrupted: TrainResult
) -> None:
    stopped_after(ground, 8)
    newest = ground.store / RUN_FOLDER / "step-00000008.safetensors"
    os.truncate(newest, newest.stat().st_size // 2)

    with capture_logs() as logs:
        resumed_after, result = first_step_of(ground)

    dropped = [line for line in logs if line["event"] == "Dropped a checkpoint"]
    assert [line["step"] for line in dropped] == [8]
    assert resumed_after == 6
    assert result.weights_digest == uninterrupted.weights_digest


def test_checkpoints_that_were_edited_are_all_dropped_and_training_begins_anew(
    ground: Ground, uninterrupted: TrainResult
) -> None:
    stopped_after(ground, 8)
    for file in (ground.store / RUN_FOLDER).glob("step-*.safetensors"):
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)

    with capture_logs() as logs:
        resumed_after, result = first_step_of(ground)

    dropped = [line for line in logs if line["event"] == "Dropped a checkpoint"]
    assert [line["step"] for line in dropped] == [8, 6]
    assert all("edited" in line["reason"] for line in dropped)
    assert resumed_after == 0
    assert result.weights_digest == uninterrupted.weights_digest


def test_a_checkpoint_whose_note_is_nonsense_is_dropped(
    ground: Ground, uninterrupted: TrainResult
) -> None:
    stopped_after(ground, 5)
    (ground.store / RUN_FOLDER / "step-00000005.json").write_text("{}")

    resumed_after, result = first_step_of(ground)

    assert resumed_after == 3
    assert result.weights_digest == uninterrupted.weights_digest


def test_a_checkpoint_of_other_data_is_not_resumed(ground: Ground, tmp_path: Path) -> None:
    from tests.tiny import some_data

    stopped_after(ground, 5)
    other = Ground(ground.folder, ground.base, some_data(tmp_path / "other", seed=7))

    resumed_after, _ = first_step_of(other)

    assert resumed_after == 0
