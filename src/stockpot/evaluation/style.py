"""The evaluator `style`: the mean saturation of drawn pictures, and the share of dark pixels.

Both are visible at a glance and shift when a shard of another style joins or leaves. They do not
measure how good a picture is.
"""

import numpy as np
from numpy.typing import NDArray

from stockpot.api.options import StyleOptions
from stockpot.evaluation.evaluator import EvaluatedRevision, EvaluatorResult, captions
from stockpot.evaluation.measurements import Measurement

DARK_BELOW = 64
"""A pixel is dark when its brightest channel is below a quarter of full."""


class Style(StyleOptions):
    """`saturation_mean` and `dark_share`, both in [0, 1], for fixed prompts and noise."""

    def evaluate(self, revision: EvaluatedRevision) -> EvaluatorResult:
        prompts = prompts_of(self.prompts, self.count)
        revision.require_readable(prompts, evaluator="style")
        prompts = prompts or captions(revision.records, self.count, evaluator="style")
        seeds = range(self.seed, self.seed + self.count)
        pictures = revision.draw(prompts, seeds, steps=self.steps, guidance=self.guidance)
        names = [f"{prompt} #{seed}" for prompt, seed in zip(prompts, seeds, strict=True)]
        return EvaluatorResult(
            {
                "saturation_mean": Measurement(dict(zip(names, saturation(pictures), strict=True))),
                "dark_share": Measurement(dict(zip(names, dark_share(pictures), strict=True))),
            }
        )


def prompts_of(option: str, count: int) -> list[str]:
    """Take `count` prompts from an option, repeating them; an empty option has none."""
    listed = [prompt.strip() for prompt in option.split("|") if prompt.strip()]
    return [listed[number % len(listed)] for number in range(count)] if listed else []


def saturation(pictures_NHWC: NDArray[np.uint8]) -> list[float]:  # noqa: N803
    """Compute the mean HSV saturation of each picture: 0 is grey, 1 is pure colour."""
    brightest = pictures_NHWC.max(-1).astype(np.float64)
    spread = brightest - pictures_NHWC.min(-1)
    shares = np.divide(spread, brightest, out=np.zeros_like(spread), where=brightest > 0)
    return [float(x) for x in shares.mean((1, 2))]


def dark_share(pictures_NHWC: NDArray[np.uint8]) -> list[float]:  # noqa: N803
    """Compute the share of dark pixels of each picture."""
    return [float(x) for x in (pictures_NHWC.max(-1) < DARK_BELOW).mean((1, 2))]
