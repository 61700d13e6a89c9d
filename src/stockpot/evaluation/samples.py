"""A sheet of pictures for people: the same prompts and noise for each revision."""

import io
from typing import Annotated

from pydantic import Field

from stockpot.api.model import Model
from stockpot.evaluation.grid import labelled_grid
from stockpot.evaluation.style import prompts_of
from stockpot.evaluation.subject import Findings, Subject, captions

SHEET = "samples.png"


class Samples(Model):
    """`samples.png`: a row for each prompt, a column for each seed. No figure."""

    prompts: str = ""
    """Separated by `|`; none: the first held-out captions."""
    rows: Annotated[int, Field(ge=1, le=100)] = 8
    """How many held-out captions, where no prompts are given."""
    columns: Annotated[int, Field(ge=1, le=32)] = 4
    steps: Annotated[int, Field(ge=1, le=1000)] = 20
    guidance: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 3
    seed: Annotated[int, Field(ge=0, le=2**32)] = 0
    """Of the first column; each further one has the next."""

    def evaluate(self, subject: Subject) -> Findings:
        prompts = list(dict.fromkeys(prompts_of(self.prompts, self.prompts.count("|") + 1)))
        subject.require_readable(prompts, evaluator="samples")
        if not prompts:
            prompts = list(dict.fromkeys(captions(subject.records, self.rows, evaluator="samples")))
        seeds = range(self.seed, self.seed + self.columns)
        pictures = subject.draw(
            [prompt for prompt in prompts for _ in seeds],
            [seed for _ in prompts for seed in seeds],
            steps=self.steps,
            guidance=self.guidance,
        )
        rows = {
            prompt: list(pictures[at * len(seeds) : (at + 1) * len(seeds)])
            for at, prompt in enumerate(prompts)
        }
        scale = max(1, 96 // subject.resolution)
        sheet = labelled_grid(rows, [f"seed {seed}" for seed in seeds], scale)
        file = io.BytesIO()
        sheet.save(file, "PNG", optimize=True)
        return Findings(files={SHEET: file.getvalue()})
