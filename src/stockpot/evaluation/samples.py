"""The evaluator `samples`: a sheet of pictures, with the same prompts and noise each revision."""

import io

from stockpot.api.options import SamplesOptions
from stockpot.evaluation.evaluator import EvaluatedRevision, EvaluatorResult, captions
from stockpot.evaluation.grid import labelled_grid
from stockpot.evaluation.style import prompts_of

SHEET = "samples.png"


class Samples(SamplesOptions):
    """`samples.png`: a row for each prompt, a column for each seed. It has no figure."""

    def evaluate(self, revision: EvaluatedRevision) -> EvaluatorResult:
        prompts = list(dict.fromkeys(prompts_of(self.prompts, self.prompts.count("|") + 1)))
        revision.require_readable(prompts, evaluator="samples")
        if not prompts:
            prompts = list(
                dict.fromkeys(captions(revision.records, self.rows, evaluator="samples"))
            )
        seeds = range(self.seed, self.seed + self.columns)
        pictures = revision.draw(
            [prompt for prompt in prompts for _ in seeds],
            [seed for _ in prompts for seed in seeds],
            steps=self.steps,
            guidance=self.guidance,
        )
        rows = {
            prompt: list(pictures[at * len(seeds) : (at + 1) * len(seeds)])
            for at, prompt in enumerate(prompts)
        }
        scale = max(1, 96 // revision.resolution)
        sheet = labelled_grid(rows, [f"seed {seed}" for seed in seeds], scale)
        file = io.BytesIO()
        sheet.save(file, "PNG", optimize=True)
        return EvaluatorResult(files={SHEET: file.getvalue()})
