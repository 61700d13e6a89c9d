"""What evaluators are given: a revision to ask, and records that it has not seen."""

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
from stockpot.diffusion.pipeline import Parts, Unet
from stockpot.diffusion.prompts import PromptReader
from stockpot.diffusion.records import Record
from stockpot.diffusion.sampling import sample
from stockpot.errors import ExitCode, Refused
from stockpot.evaluation.figures import Figure
from stockpot.process.interruption import raise_if_stopping

AT_ONCE = 32
"""Pictures or latents in one batch: beyond it a CPU gains nothing, and memory grows."""


@dataclass(frozen=True)
class Subject:
    """One revision."""

    parts: Parts
    unet: Unet
    records: tuple[Record, ...]
    """Held out: in no shard. In order of digest; empty where the soup names none."""
    resolution: int
    advance: Callable[[int], None]
    """Told how many pictures or records are done."""
    stop: threading.Event

    def draw(
        self, prompts: Sequence[str], seeds: Sequence[int], *, steps: int, guidance: float
    ) -> NDArray[np.uint8]:
        """Draw one picture for each prompt and seed.

        The batches depend on the number of prompts alone, so every revision is asked in the same
        way.

        Returns:
            Pictures, shape (N, H, W, 3).

        Raises:
            Refused: (BAD_WEIGHTS) A picture is not made of numbers.
        """
        drawn = []
        for at in range(0, len(prompts), AT_ONCE):
            try:
                with np.errstate(invalid="raise"):
                    some = sample(
                        self.parts,
                        self.unet,
                        prompts[at : at + AT_ONCE],
                        seeds[at : at + AT_ONCE],
                        steps=steps,
                        guidance=guidance,
                        resolution=self.resolution,
                        on_step=lambda _: self.go_on(),
                    )
            except FloatingPointError as error:
                raise Refused(
                    "The revision draws a picture that is not made of numbers.",
                    help="its weights diverged: look at the last loss of its shards",
                    exit_code=ExitCode.BAD_WEIGHTS,
                ) from error
            drawn.append(some)
            self.advance(at + len(some))
        return np.concatenate(drawn)

    def require_readable(self, prompts: Sequence[str], *, evaluator: str) -> None:
        """Refuse prompts that somebody wrote and the base's text encoder does not read whole.

        Raises:
            Refused: (BAD_RUN_SPEC) It would cut one of them; says which, and what would be lost.
        """
        for prompt in dict.fromkeys(prompts):
            self._reader.require_readable(prompt, f"The prompt of {evaluator}")

    @cached_property
    def _reader(self) -> PromptReader:
        return PromptReader(self.parts.tokenizer)

    def go_on(self) -> None:
        """End here where the run was asked to end.

        Raises:
            StockpotError: (INTERRUPTED) It was.
        """
        raise_if_stopping(
            self.stop, "The evaluation was asked to end before it was done.", help="run it again"
        )


@dataclass(frozen=True)
class Findings:
    """What one evaluator found."""

    figures: Mapping[str, Figure] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    """To lie beside `evaluation.json`, by name."""
    omissions: Omissions = ()
    """What of the held-out pictures is not in the figures."""
    fitted_on: tuple[LineagePair, ...] = ()
    """What the evaluator itself was made from, where it learnt from shards."""


class Evaluator(Protocol):
    """A way to look at a revision. Made from its options, without a side effect."""

    def evaluate(self, subject: Subject) -> Findings:
        """Ask the revision. The same weights must give the same figures."""
        ...


def captions(records: Sequence[Record], count: int, *, evaluator: str) -> list[str]:
    """Take `count` prompts from held-out captions, round and round where there are fewer.

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
    return [unique[at % len(unique)] for at in range(count)]


def noise_seed(*names: object) -> int:
    """Derive a seed in [0, 2**63) from names alone, so that every revision meets the same noise."""
    # Not as training does, which keeps the lower 63 bits: figures of older revisions stay
    # comparable.
    return hash_of_names(*names) >> 1
