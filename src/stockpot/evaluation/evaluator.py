"""The contract of evaluators: the revision that they are given, and the result that they return."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stockpot.api.manifest import LineagePair
from stockpot.api.omissions import Omissions
from stockpot.core.seeds import hash_of_names
from stockpot.diffusion.drawing import draw
from stockpot.diffusion.families.port import Denoiser, Drawing, Family
from stockpot.diffusion.prompts import PromptReader
from stockpot.diffusion.records import Record
from stockpot.errors import ExitCode, Refused
from stockpot.evaluation.measurements import Measurement
from stockpot.process.interruption import raise_if_stopping

BATCH_SIZE = 32
"""Pictures or latents in one batch: beyond it a CPU gains nothing, and memory grows."""


@dataclass(frozen=True)
class EvaluatedRevision:
    """One revision, loaded, with the records to evaluate it on."""

    family: Family
    """The base's VAE, text encoders, tokenizers and scheduler."""
    denoiser: Denoiser
    """The revision's UNet or transformer."""
    records: tuple[Record, ...]
    """Held-out records, which are in no shard, by digest; empty where the soup names none."""
    resolution: int
    """Side of the pictures, in pixels."""
    advance: Callable[[int], None]
    """Reports progress: the number of pictures or records that are done."""
    stop: threading.Event
    """Set when the process is asked to stop."""

    def draw(
        self, prompts: Sequence[str], seeds: Sequence[int], *, steps: int, guidance: float
    ) -> NDArray[np.uint8]:
        """Draw one picture for each prompt and seed.

        Batches depend on the number of prompts alone, so every revision draws in the same batches.

        Returns:
            Pictures, shape (N, H, W, 3).

        Raises:
            Refused: (BAD_WEIGHTS) A picture has a value that is not finite.
        """
        batches = []
        for first in range(0, len(prompts), BATCH_SIZE):
            try:
                with np.errstate(invalid="raise"):
                    pictures = draw(
                        self.family,
                        self.denoiser,
                        prompts[first : first + BATCH_SIZE],
                        seeds[first : first + BATCH_SIZE],
                        Drawing(steps, guidance, self.resolution, self.resolution),
                        on_step=lambda _: self.raise_if_stopping(),
                    )
            except FloatingPointError as error:
                raise Refused(
                    "The revision draws a picture that is not made of numbers.",
                    help="its weights diverged: look at the last loss of its shards",
                    exit_code=ExitCode.BAD_WEIGHTS,
                ) from error
            batches.append(pictures)
            self.advance(first + len(pictures))
        return np.concatenate(batches)

    def require_readable(self, prompts: Sequence[str], *, evaluator: str) -> None:
        """Refuse prompts of the suite's options that the base's text encoder would cut.

        Raises:
            Refused: (BAD_RUN_SPEC) It would cut one of them; the message has what would be lost.
        """
        for prompt in dict.fromkeys(prompts):
            self._reader.require_readable(prompt, f"The prompt of {evaluator}")

    @cached_property
    def _reader(self) -> PromptReader:
        return PromptReader(self.family.tokenizer)

    def raise_if_stopping(self) -> None:
        """Raise if the run was asked to stop; evaluators call it between batches.

        Raises:
            StockpotError: (INTERRUPTED) It was.
        """
        raise_if_stopping(
            self.stop, "The evaluation was asked to end before it was done.", help="run it again"
        )


@dataclass(frozen=True)
class EvaluatorResult:
    """The result of one evaluator."""

    figures: Mapping[str, Measurement] = field(default_factory=dict)
    """By name, as in `evaluation.json`; no other evaluator of the suite may have the name."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Files to publish beside `evaluation.json`, by name."""
    omissions: Omissions = ()
    """Held-out data that the figures do not use exactly as given."""
    fitted_on: tuple[LineagePair, ...] = ()
    """Trainings that the evaluator itself learnt from: the evaluation is purged with them."""


class Evaluator(Protocol):
    """An evaluator. It is made from its options, without side effects."""

    def evaluate(self, revision: EvaluatedRevision) -> EvaluatorResult:
        """Evaluate the revision. The same weights must give the same figures."""
        ...


def captions(records: Sequence[Record], count: int, *, evaluator: str) -> list[str]:
    """Take `count` prompts from held-out captions, repeating them where there are fewer.

    Raises:
        Refused: (BAD_RUN_SPEC) There are no held-out records.
    """
    unique = list(dict.fromkeys(record.caption for record in records))
    if not unique:
        raise Refused(
            f"{evaluator} has no prompts, because there are no held-out records.",
            help=f"name spec.evaluation.source, or give {evaluator} prompts: a cat|a dog",
            exit_code=ExitCode.BAD_RUN_SPEC,
        )
    return [unique[number % len(unique)] for number in range(count)]


def noise_seed(*names: object) -> int:
    """Derive a seed in [0, 2**63) from names alone, so that every revision meets the same noise."""
    # Training keeps the lower 63 bits instead. Both stay: a change would change every figure.
    return hash_of_names(*names) >> 1
