"""How shards are trained: the fields of `Soup.spec.training`.

Names are those of diffusers' and peft's scripts. Decimals are strings, never floats.
`core/training_key.py` lists those that change an ingredient's bytes.
"""

from enum import StrEnum
from fractions import Fraction
from typing import Annotated, ClassVar

from pydantic import Field

from stockpot.api.model import DecimalString, Model, Rule, SignedDecimalString

Count = Annotated[int, Field(ge=1, le=100_000_000)]


class WeightsDtype(StrEnum):
    """The data type that weights are rounded to, once."""

    FP16 = "fp16"
    BF16 = "bf16"
    FP32 = "fp32"


class MixedPrecision(StrEnum):
    """The data type of the forward pass; weights and EMA stay fp32 while training."""

    NO = "no"
    FP16 = "fp16"
    BF16 = "bf16"


class Named(Model):
    """The name of a built-in or plugin, with its options."""

    name: str
    options: dict[str, str] = Field(default_factory=dict)
    """Options of the built-in or plugin; decimals are strings."""


class Optimizer(Model):
    """The optimizer: AdamW, with decoupled weight decay."""

    name: str = "AdamW"
    options: dict[str, str] = Field(default_factory=dict)
    """`learningRate`, `beta1`, `beta2`, `weightDecay`, `epsilon`, `maxGradNorm`."""


class LearningRateSchedule(StrEnum):
    """The schedule of the learning rate after its warm-up."""

    CONSTANT = "constant"
    LINEAR = "linear"
    COSINE = "cosine"


class Ema(Model):
    """An exponential moving average of the weights."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.decay) || double(self.decay) < 1.0",
            "decay must be below 1: an average with all of its memory never leaves the base",
            lambda ema: Fraction(ema.decay) < 1,
            "decay",
        ),
    )

    decay: DecimalString = "0.999"
    publish: bool = True
    """Whether the ingredient is the average instead of the last step's weights."""


class LevelDistribution(StrEnum):
    """How noise levels are drawn in flow matching."""

    UNIFORM = "Uniform"
    LOGIT_NORMAL = "LogitNormal"
    MODE = "Mode"


class FlowMatchingTraining(Model):
    """Training of bases that predict a velocity, such as FLUX."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.shift) || double(self.shift) > 0.0",
            "shift must be above 0; 1 leaves noise levels as they are drawn",
            lambda flow: flow.shift is None or Fraction(flow.shift) > 0,
            "shift",
        ),
        Rule(
            "!has(self.shift) || !has(self.shiftByResolution) || !self.shiftByResolution",
            "shift and shiftByResolution exclude each other: name one of them",
            lambda flow: flow.shift is None or not flow.shift_by_resolution,
            "shift",
        ),
        Rule(
            "(has(self.levels) && self.levels == 'LogitNormal') || "
            "((!has(self.logitMean) || self.logitMean == '0') && "
            "(!has(self.logitStd) || self.logitStd == '1'))",
            "logitMean and logitStd are of levels: LogitNormal; with other levels leave them out",
            lambda flow: (
                flow.levels is LevelDistribution.LOGIT_NORMAL
                or (flow.logit_mean, flow.logit_std) == ("0", "1")
            ),
            "levels",
        ),
        Rule(
            "(has(self.levels) && self.levels == 'Mode') || "
            "!has(self.modeScale) || self.modeScale == '1.29'",
            "modeScale is of levels: Mode; with other levels leave it out",
            lambda flow: flow.levels is LevelDistribution.MODE or flow.mode_scale == "1.29",
            "levels",
        ),
        Rule(
            "!has(self.logitStd) || double(self.logitStd) > 0.0",
            "logitStd must be above 0",
            lambda flow: Fraction(flow.logit_std) > 0,
            "logitStd",
        ),
    )

    levels: LevelDistribution = LevelDistribution.UNIFORM
    """`Uniform`, `LogitNormal` or `Mode`: `weighting_scheme` of diffusers' scripts."""
    logit_mean: SignedDecimalString = "0"
    """Mean of LogitNormal: above 0, more noise."""
    logit_std: DecimalString = "1"
    mode_scale: DecimalString = "1.29"
    shift: DecimalString | None = None
    """Moves noise levels towards noise; if unset, it is that of the base's scheduler."""
    shift_by_resolution: bool = False
    """Whether the shift follows from the resolution, as the base's scheduler does in sampling."""
    guidance_scale: DecimalString = "3.5"
    """The guidance that a base distilled with guidance is told in training."""


class Training(Model):
    """How every shard of a soup is trained, each alone, from the base."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.snrGamma) || double(self.snrGamma) > 0.0",
            "snrGamma must be above 0, such as 5; leave it out to weigh every timestep the same",
            lambda training: training.snr_gamma is None or Fraction(training.snr_gamma) > 0,
            "snrGamma",
        ),
        Rule(
            "!has(self.proportionEmptyPrompts) || double(self.proportionEmptyPrompts) <= 1.0",
            "proportionEmptyPrompts is a share of all captions: at most 1",
            lambda training: Fraction(training.proportion_empty_prompts) <= 1,
            "proportionEmptyPrompts",
        ),
        Rule(
            "!has(self.lrWarmupSteps) || !has(self.maxTrainSteps) "
            "|| self.lrWarmupSteps <= self.maxTrainSteps",
            "lrWarmupSteps may not be above maxTrainSteps: the warm-up would never end",
            lambda training: training.lr_warmup_steps <= training.max_train_steps,
            "lrWarmupSteps",
        ),
    )

    method: Named = Named(name="FineTune")
    max_train_steps: Count = 500
    train_batch_size: Count = 16
    gradient_accumulation_steps: Count = 1
    gradient_checkpointing: bool = False
    mixed_precision: MixedPrecision = MixedPrecision.NO
    publish_dtype: WeightsDtype = WeightsDtype.FP16
    """What an ingredient is rounded to; the factors of a LoRA are fp32 in any case."""
    optimizer: Optimizer = Optimizer()
    lr_scheduler: LearningRateSchedule = LearningRateSchedule.COSINE
    lr_warmup_steps: Annotated[int, Field(ge=0)] = 0
    snr_gamma: DecimalString | None = None
    """Min-SNR weighting of the loss (Hang et al. 2023); if unset, timesteps have equal weights."""
    noise_offset: DecimalString | None = None
    """Adds so much of one random number per channel to the noise, so that very dark and very light
    pictures are learnt; for bases with a DDPM schedule."""
    flow_matching: FlowMatchingTraining | None = None
    """For bases that predict a velocity, such as FLUX."""
    ema: Ema | None = None
    proportion_empty_prompts: DecimalString = "0.1"
    """The share of captions left empty, so that guidance has an unconditional model."""
    resolution: Annotated[int, Field(ge=8, le=4096)] = 512
    random_flip: bool = False
    seed: Annotated[int, Field(ge=0, le=2**53)] = 0
    checkpointing_steps: Count = 100
    max_corrupt_percent: Annotated[int, Field(ge=0, le=100)] = 1
    """Most unreadable pictures of a shard, in percent; a shard with more is refused."""
    parallelism: Annotated[int, Field(ge=1, le=1000)] = 2
    """Most trainings that run at once."""
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 3
