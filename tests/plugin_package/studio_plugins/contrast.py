"""The contrast of pictures: the standard deviation of their brightness, in [0, 1]."""

from stockpot.evaluation.evaluator import EvaluatorResult
from stockpot.evaluation.measurements import Measurement


class Contrast:
    def __init__(self, prompts, steps="20"):  # options are strings
        self.prompts = [prompt.strip() for prompt in prompts.split("|")]
        self.steps = int(steps)

    def evaluate(self, revision):
        revision.require_readable(self.prompts, evaluator="contrast")
        seeds = range(len(self.prompts))
        pictures = revision.draw(self.prompts, seeds, steps=self.steps, guidance=3.0)
        contrasts = pictures.mean(-1).std((1, 2)) / 255  # shape (N, H, W, 3), bytes
        items = dict(zip(self.prompts, map(float, contrasts), strict=True))
        return EvaluatorResult({"contrast": Measurement(items)})
