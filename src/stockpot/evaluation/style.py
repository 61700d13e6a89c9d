"""What pictures look like as a whole: how colourful they are, and how much of them is dark.

Two numbers that a person sees at once, and that shift when a shard of another style joins or
leaves. They say nothing of how good a picture is.
"""

import numpy as np
from numpy.typing import NDArray

from stockpot.api.options import StyleOptions
from stockpot.evaluation.figures import Figure
from stockpot.evaluation.subject import Findings, Subject, captions

DARK_BELOW = 64
"""A pixel is dark when its brightest channel is below a quarter of full."""


class Style(StyleOptions):
    """Of fixed prompts and noise: `saturation_mean` and `dark_share`, both in [0, 1]."""

    def evaluate(self, subject: Subject) -> Findings:
        prompts = prompts_of(self.prompts, self.count)
        subject.require_readable(prompts, evaluator="style")
        prompts = prompts or captions(subject.records, self.count, evaluator="style")
        seeds = range(self.seed, self.seed + self.count)
        pictures = subject.draw(prompts, seeds, steps=self.steps, guidance=self.guidance)
        names = [f"{prompt} #{seed}" for prompt, seed in zip(prompts, seeds, strict=True)]
        return Findings(
            {
                "saturation_mean": Figure(dict(zip(names, saturation(pictures), strict=True))),
                "dark_share": Figure(dict(zip(names, dark_share(pictures), strict=True))),
            }
        )


def prompts_of(said: str, count: int) -> list[str]:
    """Take `count` prompts from what an option says, round and round; none where it says none."""
    listed = [prompt.strip() for prompt in said.split("|") if prompt.strip()]
    return [listed[at % len(listed)] for at in range(count)] if listed else []


def saturation(pictures_NHWC: NDArray[np.uint8]) -> list[float]:  # noqa: N803
    """The mean HSV saturation of each picture: 0 is grey, 1 is pure colour."""
    brightest = pictures_NHWC.max(-1).astype(np.float64)
    spread = brightest - pictures_NHWC.min(-1)
    shares = np.divide(spread, brightest, out=np.zeros_like(spread), where=brightest > 0)
    return [float(x) for x in shares.mean((1, 2))]


def dark_share(pictures_NHWC: NDArray[np.uint8]) -> list[float]:  # noqa: N803
    """The share of each picture's pixels that are dark."""
    return [float(x) for x in (pictures_NHWC.max(-1) < DARK_BELOW).mean((1, 2))]
