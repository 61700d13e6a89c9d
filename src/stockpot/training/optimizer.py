"""Read the optimizer's options, and compute the learning rate of a step. Pure."""

import math
from dataclasses import dataclass

from stockpot.api.options import OPTIMIZERS, AdamWOptions, read_options
from stockpot.api.training import LearningRateSchedule, Optimizer, Training
from stockpot.extensions import refuse


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101)."""

    learning_rate: float
    betas: tuple[float, float]
    weight_decay: float
    epsilon: float
    max_grad_norm: float


def read_optimizer(optimizer: Optimizer) -> AdamW:
    """Read the optimizer's options.

    Raises:
        Refused: (BAD_RUN_SPEC) The name, an option or a value is unknown.
    """
    refuse(OPTIMIZERS.complaints(optimizer, {}))
    options = read_options(AdamWOptions, optimizer)
    return AdamW(
        learning_rate=options.learning_rate,
        betas=(options.beta1, options.beta2),
        weight_decay=options.weight_decay,
        epsilon=options.epsilon,
        max_grad_norm=options.max_grad_norm,
    )


def learning_rate(training: Training, peak: float, step: int) -> float:
    """Compute the learning rate of a step, in closed form: a resumed run needs no history.

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
