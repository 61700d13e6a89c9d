"""The training loop: batches, loss, optimizer steps, EMA and checkpoints.

Weights, their EMA and the optimizer's moments are float32 whatever the forward pass computes in.
Accelerate places, casts and scales. A step depends on the state before it and on its number alone,
so resuming from a checkpoint changes no bit of the result.
"""

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from stockpot.api.soups import half_precision_complaint
from stockpot.api.training import FlowMatchingTraining, MixedPrecision, Training
from stockpot.diffusion.families.port import Denoiser, Family
from stockpot.diffusion.objectives import Objective
from stockpot.errors import ExitCode, Refused
from stockpot.extensions import refuse
from stockpot.metrics.progress import Progress
from stockpot.process.interruption import raise_if_stopping
from stockpot.training.checkpoint import Checkpoint, Checkpoints
from stockpot.training.latent_cache import EncodedShard
from stockpot.training.methods import Batch, Method
from stockpot.training.optimizer import learning_rate, read_optimizer
from stockpot.training.sampling_plan import plan_batch, step_seed

log = structlog.get_logger()

_LOSS_SMOOTHING = 0.98
"""Smoothing of the running loss: about the mean of the last 50 steps."""


@dataclass(frozen=True)
class TrainedWeights:
    """The result of a training."""

    tensors: Mapping[str, Tensor]
    """The tensors that the method publishes, float32."""
    running_loss: float
    """The loss of the last steps, smoothed."""
    is_lora: bool = False
    """Whether they are factors of low rank, and not every tensor of the denoiser."""


def train(
    denoiser: Denoiser,
    encoded: EncodedShard,
    *,
    family: Family,
    method: Method,
    objective: Objective,
    training: Training,
    seed: int,
    device: torch.device,
    checkpoints: Checkpoints,
    progress: Progress,
    stop: threading.Event,
) -> TrainedWeights:
    """Train a denoiser in place, from the newest checkpoint if there is one.

    Args:
        denoiser: With the base's weights, float32.
        encoded: The shard.
        family: Calls the denoiser.
        method: The parameters to train, and their loss.
        objective: What the denoiser has to predict.
        training: Steps, batch size, learning rate and so on.
        seed: The shard's seed; every random draw follows from it.
        device: The device to train on.
        checkpoints: Saves the state every `checkpointing_steps`.
        progress: Reports each step.
        stop: When set, the loop saves and ends after the current step.

    Raises:
        Refused: (DIVERGED) A loss or gradient is not a number; names the step.
        StockpotError: (INTERRUPTED) `stop` was set, and all that was done is saved.
    """
    from accelerate import Accelerator  # noqa: PLC0415 - not before there is something to train

    _refuse_half_on_cpu(training, device)
    _warn_of_emulation(training, device)
    total, grad_accum_steps = training.max_train_steps, training.gradient_accumulation_steps
    adamw = read_optimizer(training.optimizer)
    if training.gradient_checkpointing:
        denoiser.enable_gradient_checkpointing()
    accelerator = Accelerator(
        mixed_precision=training.mixed_precision.value, cpu=device.type == "cpu"
    )
    state = _State(denoiser.to(device), method, training)
    model, optimizer = accelerator.prepare(denoiser, state.optimizer)
    model.train()
    guidance = float((training.flow_matching or FlowMatchingTraining()).guidance_scale)

    def predict(noisy: Tensor, batch: Batch) -> Tensor:
        return family.predict(
            model, noisy, batch.levels, batch.conditions, batch.sizes, guidance=guidance
        )

    if saved := checkpoints.newest():
        state.restore(saved, accelerator.scaler)
    begun = state.step
    progress.begin("training", total, first_step=begun)
    since_s = time.monotonic()
    with _deterministic():
        while state.step < total:
            step, loss = state.step, 0.0
            rate = learning_rate(training, adamw.learning_rate, step)
            for group in optimizer.param_groups:
                group["lr"] = rate
            # For layers that draw at random themselves, as dropout does.
            torch.manual_seed(step_seed(seed, "step", step))
            for micro_step in range(grad_accum_steps):
                batch = _batch(
                    encoded, objective, training, seed, step * grad_accum_steps + micro_step, device
                )
                micro_loss = method.loss(batch, predict, objective) / grad_accum_steps
                accelerator.backward(micro_loss)
                loss += micro_loss.item()
            norm = accelerator.clip_grad_norm_(state.parameters, adamw.max_grad_norm)
            # In fp16 a gradient may overflow: the scaler skips that step and scales less.
            _refuse_diverged(step, total, loss, 0.0 if accelerator.scaler else norm.item())
            optimizer.step()
            optimizer.zero_grad()
            state.advance(loss, skipped=accelerator.optimizer_step_was_skipped)
            pace = (step + 1 - begun) * grad_accum_steps * training.train_batch_size
            progress.advance(
                state.step,
                loss=state.running_loss,
                learning_rate=rate,
                images_per_s=pace / (time.monotonic() - since_s),
            )
            if state.step < total and (
                stop.is_set() or state.step % training.checkpointing_steps == 0
            ):
                checkpoints.save(state.checkpoint(accelerator.scaler))
                raise_if_stopping(
                    stop,
                    f"Ended when asked to, after saving step {state.step} of {total}.",
                    help="Run it again: it goes on from what was saved.",
                )
    unwrapped = accelerator.unwrap_model(model)
    state.publish_ema()
    return TrainedWeights(
        method.publish(unwrapped), state.running_loss, is_lora=method.publishes_lora
    )


class _State:
    """The state that a checkpoint holds."""

    def __init__(self, denoiser: Denoiser, method: Method, training: Training) -> None:
        trained = method.trainable(denoiser)
        denoiser.requires_grad_(False)
        self.names = sorted(trained)
        self.parameters = [trained[name].requires_grad_(True) for name in self.names]
        adamw = read_optimizer(training.optimizer)
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            lr=adamw.learning_rate,
            betas=adamw.betas,
            eps=adamw.epsilon,
            weight_decay=adamw.weight_decay,
            fused=True,
        )
        self.ema = training.ema
        self.ema_weights = [p.detach().clone() for p in self.parameters] if self.ema else []
        self.step = 0
        self.optimizer_steps = 0
        self.running_loss = 0.0

    @torch.no_grad()
    def advance(self, loss: float, *, skipped: bool) -> None:
        """Count a step and update the running loss and the EMA."""
        smoothing = _LOSS_SMOOTHING if self.step else 0.0
        self.running_loss = smoothing * self.running_loss + (1 - smoothing) * loss
        self.step += 1
        self.optimizer_steps += not skipped
        if self.ema:
            # The decay grows with the steps: at first a long EMA would be mostly the base.
            decay = min(float(self.ema.decay), (1 + self.step) / (10 + self.step))
            follow = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
            follow(self.ema_weights, [p.detach() for p in self.parameters], self.step)

    @torch.no_grad()
    def publish_ema(self) -> None:
        """Replace the weights by their EMA, where the training publishes the EMA."""
        if self.ema and self.ema.publish:
            for parameter, ema_weight in zip(self.parameters, self.ema_weights, strict=True):
                parameter.copy_(ema_weight)

    def checkpoint(self, scaler: Any) -> Checkpoint:
        """Copy the state into a checkpoint."""
        tensors = {}
        for what, values in self._columns().items():
            for name, value in zip(self.names, values, strict=True):
                tensors[f"{what}/{name}"] = value.detach().contiguous()
        return Checkpoint(
            step=self.step,
            running_loss=self.running_loss,
            optimizer_steps=self.optimizer_steps,
            scaler={
                name: float(value)
                for name, value in (scaler.state_dict() if scaler else {}).items()
            },
            tensors=tensors,
        )

    @torch.no_grad()
    def restore(self, saved: Checkpoint, scaler: Any) -> None:
        """Load the state of a checkpoint."""
        if saved.optimizer_steps:
            for parameter in self.parameters:
                self.optimizer.state[parameter] = {
                    "step": torch.tensor(float(saved.optimizer_steps), device=parameter.device),
                    # With the parameter's strides: the fused kernel walks both together.
                    "exp_avg": torch.empty_like(parameter),
                    "exp_avg_sq": torch.empty_like(parameter),
                }
        for what, values in self._columns().items():
            for name, value in zip(self.names, values, strict=True):
                value.copy_(saved.tensors[f"{what}/{name}"])
        if scaler:
            counts = {"growth_interval", "_growth_tracker"}
            scaler.load_state_dict(
                {name: int(v) if name in counts else v for name, v in saved.scaler.items()}
            )
        self.step = saved.step
        self.optimizer_steps = saved.optimizer_steps
        self.running_loss = saved.running_loss

    def _columns(self) -> dict[str, list[Tensor]]:
        """The tensors of a checkpoint by kind, each in the order of `names`."""
        columns: dict[str, list[Tensor]] = {"weights": list(self.parameters)}
        if self.ema:
            columns["average"] = self.ema_weights
        if self.optimizer.state:
            for what in ("exp_avg", "exp_avg_sq"):
                columns[what] = [self.optimizer.state[p][what] for p in self.parameters]
        return columns


def _batch(
    encoded: EncodedShard,
    objective: Objective,
    training: Training,
    seed: int,
    number: int,
    device: torch.device,
) -> Batch:
    """Sample a batch and assemble it on the device."""
    drawn = plan_batch(
        seed,
        number,
        records=encoded.records,
        batch_size=training.train_batch_size,
        latent_shape=encoded.latents.shape[2:],
        draw_levels=objective.draw_levels,
        noise_offset=float(training.noise_offset or 0),
        flip=training.random_flip,
        captionless=float(training.proportion_empty_prompts),
    )
    captions = encoded.captions[drawn.records].masked_fill(drawn.captionless, 0)
    return Batch(
        latents=encoded.latents[drawn.flipped.long(), drawn.records].to(device),
        noise=drawn.noise.to(device),
        levels=drawn.levels.to(device),
        conditions={name: rows[captions].to(device) for name, rows in encoded.conditions.items()},
        sizes=encoded.sizes[drawn.records].to(device),
    )


def _refuse_half_on_cpu(training: Training, device: torch.device) -> None:
    if training.mixed_precision is MixedPrecision.FP16 and device.type == "cpu":
        refuse([half_precision_complaint()])


def _warn_of_emulation(training: Training, device: torch.device) -> None:
    emulates = torch.backends.cpu.get_cpu_capability() in {"DEFAULT", "AVX2"}
    if training.mixed_precision is MixedPrecision.BF16 and device.type == "cpu" and emulates:
        log.warning(
            "This CPU emulates bf16, and was seen to take ten times as long with it",
            help="Set training.mixedPrecision to no, for CPUs without AVX-512",
        )


def _refuse_diverged(step: int, total: int, loss: float, norm: float) -> None:
    what = next(
        (w for w, v in (("loss", loss), ("gradient", norm)) if not abs(v) < float("inf")), ""
    )
    if what:
        raise Refused(
            f"The {what} is not a finite number in step {step + 1} of {total}.",
            help="Lower the optimizer's learningRate, or set mixedPrecision to no.",
            exit_code=ExitCode.DIVERGED,
        )


@contextlib.contextmanager
def _deterministic() -> Iterator[None]:
    """Prefer deterministic kernels; restore torch's settings afterwards."""
    before = torch.are_deterministic_algorithms_enabled()
    settings: Any = torch.utils.deterministic
    fill = settings.fill_uninitialized_memory
    # Only warns where a device has no such kernel: such a training is not reproducible bit by bit,
    # and still good.
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling costs a pass over every new tensor, and only guards against uninitialized reads.
    settings.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        settings.fill_uninitialized_memory = fill
