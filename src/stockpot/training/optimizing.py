"""What the optimiser's options mean, and which learning rate a step has. Pure."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from stockpot.api.training import LearningRateSchedule, Optimizer, Training
from stockpot.errors import ExitCode, Refused

_DEFAULTS: Mapping[str, float] = {
    "learningRate": 1e-4,
    "beta1": 0.9,
    "beta2": 0.999,
    "weightDecay": 0.01,
    "epsilon": 1e-8,
    "maxGradNorm": 1.0,
}
"""Those of diffusers' training scripts."""
_NUMBER = re.compile(r"\d{1,9}(\.\d{1,18})?([eE]-?\d{1,2})?", re.ASCII)


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101)."""

    learning_rate: float
    betas: tuple[float, float]
    weight_decay: float
    epsilon: float
    max_grad_norm: float


def read_optimizer(optimizer: Optimizer) -> AdamW:
    """Understand the optimiser's options.

    Raises:
        Refused: (BAD_RUN_SPEC) Its name, one of its options or a value is not known.
    """
    if optimizer.name != "AdamW":
        raise _refused(f"There is no optimizer {optimizer.name}; there is AdamW.")
    if unknown := sorted(set(optimizer.options) - set(_DEFAULTS)):
        known = ", ".join(_DEFAULTS)
        raise _refused(f"AdamW has no option {unknown[0]}; its options are {known}.")
    values = dict(_DEFAULTS)
    for name, text in optimizer.options.items():
        if not _NUMBER.fullmatch(text):
            raise _refused(f"AdamW's {name} is {text!r}, which is no decimal number.")
        values[name] = float(text)
    for name in ("learningRate", "epsilon", "maxGradNorm"):
        if values[name] <= 0:
            raise _refused(f"AdamW's {name} is {values[name]:g}; it must be above 0.")
    for name in ("beta1", "beta2"):
        if values[name] >= 1:
            raise _refused(f"AdamW's {name} is {values[name]:g}; it must be below 1.")
    return AdamW(
        learning_rate=values["learningRate"],
        betas=(values["beta1"], values["beta2"]),
        weight_decay=values["weightDecay"],
        epsilon=values["epsilon"],
        max_grad_norm=values["maxGradNorm"],
    )


def learning_rate(training: Training, peak: float, step: int) -> float:
    """The learning rate of a step: a closed form, so that a resumed run needs no history.

    Args:
        training: Its `lr_scheduler`, `lr_warmup_steps` and `max_train_steps`.
        peak: The learning rate after the warm-up.
        step: In [0, max_train_steps).
    """
    warmup, total = training.lr_warmup_steps, training.max_train_steps
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, total - warmup)
    match training.lr_scheduler:
        case LearningRateSchedule.CONSTANT:
            return peak
        case LearningRateSchedule.LINEAR:
            return peak * (1 - done)
        case LearningRateSchedule.COSINE:
            return peak * (1 + math.cos(math.pi * done)) / 2


def _refused(message: str) -> Refused:
    return Refused(
        message,
        help="Change training.optimizer of the Soup.",
        exit_code=ExitCode.BAD_RUN_SPEC,
    )
