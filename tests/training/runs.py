"""Builds trainings of the tiny base, and runs them: here, or in a process of their own."""

import multiprocessing
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState
from tests.tiny import RESOLUTION

from stockpot.api.results import TrainResult
from stockpot.api.runspec import BaseRef, Location, ObjectRef, Place, StoreRef, TrainRun
from stockpot.api.training import Training
from stockpot.metrics.progress import Progress
from stockpot.training.run import run

REQUEST = "sha256:" + "a" * 64
STEPS = 9


def a_training(**fields: Any) -> Training:
    """A training of a few steps, with everything on that a step can have."""
    return Training.model_validate(
        {
            "max_train_steps": STEPS,
            "train_batch_size": 4,
            "resolution": RESOLUTION,
            "checkpointing_steps": 3,
            "random_flip": True,
            "snr_gamma": "5",
            "ema": {"decay": "0.9"},
            "optimizer": {"options": {"learningRate": "1e-3"}},
            **fields,
        }
    )


@dataclass(frozen=True)
class Ground:
    """Where a test's trainings happen."""

    folder: Path
    base: Path
    data: Path

    @property
    def store(self) -> Path:
        """The root of the store."""
        return self.folder / "store"

    def spec(self, *, shard: str = "food", **fields: Any) -> TrainRun:
        """A run of the shard; `training`, `source` and others may be set."""
        self.store.mkdir(parents=True, exist_ok=True)
        return TrainRun.model_validate(
            {
                "name": f"train-{shard}",
                "store": StoreRef(url=self.store.as_uri()),
                "soup": ObjectRef(namespace="ml", name="emoji", uid="soup-uid"),
                "shard": ObjectRef(namespace="ml", name=shard, uid=f"{shard}-uid"),
                "request": REQUEST,
                "base": BaseRef(location=Location(place=Place.FOLDER, path=str(self.base))),
                "source": Location(place=Place.FOLDER, path=str(self.data)),
                "training": a_training(),
                **fields,
            }
        )

    def train(self, progress: Progress | None = None, **fields: Any) -> TrainResult:
        """Train here, to the end or to an error."""
        return train(self.spec(**fields), self.work, progress or Progress(), threading.Event())

    @property
    def work(self) -> Path:
        """The scratch folder."""
        return self.folder / "work"

    def stored(self) -> list[str]:
        """The keys of all objects in the store."""
        files = (path for path in self.store.rglob("*") if path.is_file())
        return sorted(path.relative_to(self.store).as_posix() for path in files)

    def weights(self, result: TrainResult, shard: str = "food") -> Path:
        """The published weights of a result."""
        key = str(result.training_key).removeprefix("sha256:")
        return self.store / f"ml/shards/{shard}-uid/{key}/diffusion_pytorch_model.safetensors"


def train(spec: TrainRun, work: Path, progress: Progress, stop: threading.Event) -> TrainResult:
    """Train as the workload would."""
    return run(spec, work=work, progress=progress, stop=stop)


@dataclass
class Watched(Progress):
    """Progress that calls a function at each step of the training."""

    on_step: Callable[[int], None]
    phases: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def begin(self, phase: str, total_steps: int = 0, first_step: int = 0) -> None:
        self.phases.append(phase)
        super().begin(phase, total_steps, first_step)

    def advance(self, step: int, **figures: float) -> None:
        super().advance(step, **figures)
        if self.phases[-1] == "training":
            self.on_step(step)


# The libraries take many seconds to import; a fork of this process has them at once. Beside a GPU
# autograd has threads, and no fork can train: then a server imports them once, and forks.
_FORKS: Any = multiprocessing.get_context("forkserver" if torch.cuda.is_available() else "fork")
_FORKS.set_forkserver_preload(["stockpot.training.run", "tests.training.runs"])


@dataclass(frozen=True)
class Child:
    """A training in a process of its own."""

    process: BaseProcess
    says: Connection

    def wait_for(self, step: int) -> None:
        """Wait until it has done that many steps."""
        while int(self.says.recv()) < step:
            pass

    def result(self) -> TrainResult:
        """Wait for its end, and return its result."""
        while True:
            message = self.says.recv()
            if isinstance(message, TrainResult):
                self.process.join()
                return message


def in_a_child(spec: TrainRun, work: Path) -> Child:
    """Start a training in a process of its own."""
    ours, theirs = _FORKS.Pipe(duplex=False)
    process = _FORKS.Process(target=_be_a_child, args=(spec, work, theirs), daemon=True)
    process.start()
    theirs.close()
    return Child(process, ours)


def _be_a_child(spec: TrainRun, work: Path, says: Connection) -> None:
    torch.set_num_threads(1)
    # Accelerate holds one precision for a process's life, and a fork begins in the middle of one.
    AcceleratorState._reset_state(reset_partial_state=True)
    says.send(train(spec, work, Watched(says.send), threading.Event()))
