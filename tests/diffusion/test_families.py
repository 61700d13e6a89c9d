"""Each family against plain diffusers, and what it trains against what its pipeline draws."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from tests import tiny, tiny_families
from tests.diffusion.stand_in import Recorder, distance_from_latent, drawn, predicted
from torch import Tensor

from stockpot.api.training import FlowMatchingTraining, LevelDistribution
from stockpot.diffusion.drawing import draw
from stockpot.diffusion.families.port import Conditions, Denoiser, Drawing
from stockpot.diffusion.families.registry import FAMILIES, open_family
from stockpot.diffusion.objectives import FlowMatching, Objective, ObjectiveSettings
from stockpot.errors import ExitCode, Refused
from stockpot.store.base import denoiser_files
from stockpot.store.families import LAYOUTS, PIPELINE_INDEX

PROMPTS = ("a red circle", "a blue bar")
SEEDS = (1, 2**62)
BASES: dict[str, Callable[[Path], Path]] = {
    "sd-sample": tiny.a_base,
    "sd-v": lambda folder: tiny.a_base(folder, prediction_type="v_prediction"),
    "sdxl": tiny_families.an_sdxl_base,
    "sdxl-v": lambda folder: tiny_families.an_sdxl_base(folder, prediction_type="v_prediction"),
    "flux": tiny_families.a_flux_base,
    "flux-guided": lambda folder: tiny_families.a_flux_base(folder, guidance_embeds=True),
    "flux-shifted": lambda folder: tiny_families.a_flux_base(folder, dynamic=False),
}


@dataclass(frozen=True)
class Opened:
    """A tiny base, loaded."""

    folder: Path
    family: Any
    denoiser: Denoiser

    @property
    def add_embedding(self) -> Any:
        return getattr(self.denoiser, "add_embedding", None)


@pytest.fixture(scope="module", params=BASES)
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    folder = BASES[request.param](tmp_path_factory.mktemp(request.param) / "base")
    family = open_family(folder)
    weights = denoiser_files(folder)
    return Opened(folder, family, family.load_denoiser(weights, device="cpu", dtype=torch.float32))


def of(name: str, folder: Path) -> Opened:
    base = BASES[name](folder)
    return Opened(base, open_family(base), None)


def plain(opened: Opened) -> Any:
    pipeline = DiffusionPipeline.from_pretrained(opened.folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_every_family_has_a_tiny_base(tmp_path: Path) -> None:
    made = [make(tmp_path / name) for name, make in BASES.items()]

    pipelines = {json.loads((base / PIPELINE_INDEX).read_text())["_class_name"] for base in made}
    assert pipelines == set(FAMILIES) == set(LAYOUTS)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_pictures_are_drawn_as_plain_diffusers_does(opened: Opened, guidance: float) -> None:
    arguments = opened.family.guidance_arguments(guidance)
    if "true_cfg_scale" in arguments:
        arguments["negative_prompt"] = ["", ""]
    if "Flux" in type(opened.family).__name__:
        arguments["max_sequence_length"] = tiny_families.T5_TOKENS
    theirs = plain(opened)(
        list(PROMPTS),
        num_inference_steps=4,
        height=16,
        width=16,
        generator=[torch.Generator().manual_seed(seed) for seed in SEEDS],
        output_type="np",
        **arguments,
    ).images

    ours = draw(opened.family, opened.denoiser, PROMPTS, SEEDS, Drawing(4, guidance, 16, 16))

    apart = np.abs(ours - theirs * 255)
    # Half a level is rounding.
    assert (apart.max() < 2.5, apart.mean() <= 0.5 + 0.1) == (True, True), apart.max()


def test_a_pipeline_ends_with_the_latent_that_the_objective_stands_for(opened: Opened) -> None:
    assert distance_from_latent(opened.family, opened.denoiser.config, opened.add_embedding) < 1e-2


def test_in_half_precision_the_pictures_are_about_the_same(opened: Opened) -> None:
    half: Any = open_family(opened.folder, dtype=torch.bfloat16)
    denoiser = half.load_denoiser(denoiser_files(opened.folder), device="cpu", dtype=half.dtype)

    drawing = Drawing(4, 3.0, 16, 16)
    exact = draw(opened.family, opened.denoiser, PROMPTS, SEEDS, drawing).astype(int)
    drawn_half = draw(half, denoiser, PROMPTS, SEEDS, drawing)

    assert next(iter(denoiser.parameters())).dtype is torch.bfloat16
    assert half.vae.dtype is torch.float32
    assert np.abs(exact - drawn_half).mean() < 6
    assert drawn_half.std() > 1


def flipped(family: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The objective's target has the other sign."""
    right = type(family).objective

    def objective(self: Any, settings: ObjectiveSettings) -> Objective:
        objective_of_base: Any = right(self, settings)
        target = type(objective_of_base).target
        objective_of_base.target = lambda *values: -target(objective_of_base, *values)
        return objective_of_base

    monkeypatch.setattr(type(family), "objective", objective)


def mistimed(family: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The denoiser is told a quarter of the time in training."""
    right = type(family).predict

    def predict(
        self: Any, denoiser: Any, noisy: Tensor, levels: Tensor, *more: Any, **named: Any
    ) -> Tensor:
        answer: Tensor = right(self, denoiser, noisy, levels * 0.25, *more, **named)
        return answer

    monkeypatch.setattr(type(family), "predict", predict)


@pytest.mark.parametrize("mutant", [flipped, mistimed])
def test_a_wrong_sign_or_time_scale_is_caught(
    opened: Opened, mutant: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = opened.family.scheduler
    if mutant is mistimed and scheduler.config.get("prediction_type") == "sample":
        pytest.skip("a sample is the same at any time")
    mutant(opened.family, monkeypatch)

    far = distance_from_latent(opened.family, opened.denoiser.config, opened.add_embedding)

    assert far > 0.3


def conditions_differ(opened: Opened) -> set[str]:
    """Name what training tells a denoiser otherwise than the pipeline does."""
    told_in_training, told_in_drawing = (Recorder(opened.denoiser.config) for _ in range(2))
    told_in_drawing.add_embedding = opened.add_embedding
    predicted(opened.family, told_in_training, torch.zeros(2))
    drawn(opened.family, told_in_drawing, guidance=1.0, steps=2)
    ours, theirs = flat(told_in_training.calls[0]), flat(told_in_drawing.calls[0])
    ours.pop("guidance", None), theirs.pop("guidance", None)
    assert ours.keys() <= theirs.keys()
    return {
        name
        for name in theirs
        if name not in ours or not torch.equal(ours[name].float(), theirs[name].float())
    } - {"sample", "timestep"}


def flat(call: dict[str, Any]) -> dict[str, Tensor]:
    more = call.pop("added_cond_kwargs", None) or {}
    return {name: rows for name, rows in (call | more).items() if isinstance(rows, Tensor)}


def test_training_tells_the_denoiser_what_the_pipeline_tells_it(opened: Opened) -> None:
    assert conditions_differ(opened) == set()


def without_sizes(family: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes of pictures are forgotten."""
    right = type(family).predict

    def predict(
        self: Any, denoiser: Any, noisy: Any, levels: Any, rows: Any, sizes: Any, **more: Any
    ) -> Tensor:
        answer: Tensor = right(self, denoiser, noisy, levels, rows, torch.zeros_like(sizes), **more)
        return answer

    monkeypatch.setattr(type(family), "predict", predict)


def without_captions(family: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every caption is dropped in training."""
    right = type(family).predict

    def predict(
        self: Any, denoiser: Any, noisy: Tensor, levels: Any, given: Any, *more: Any, **named: Any
    ) -> Tensor:
        empty = {name: row.expand_as(given[name]) for name, row in self.empty_conditions().items()}
        answer: Tensor = right(self, denoiser, noisy, levels, empty, *more, **named)
        return answer

    monkeypatch.setattr(type(family), "predict", predict)


def test_dropped_captions_and_forgotten_sizes_are_caught(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        without_captions(opened.family, patched)
        assert conditions_differ(opened)
    if opened.add_embedding is not None:
        with monkeypatch.context() as patched:
            without_sizes(opened.family, patched)
            assert conditions_differ(opened) == {"time_ids"}


def test_no_caption_is_what_the_pipeline_takes_for_no_negative_prompt(opened: Opened) -> None:
    if not opened.family.takes_negative_prompt:
        pytest.skip("its guidance is no difference")
    recorder = Recorder(opened.denoiser.config)
    recorder.add_embedding = opened.add_embedding
    pipeline = opened.family.pipeline(recorder, plain(opened).scheduler)
    pipeline.set_progress_bar_config(disable=True)
    arguments = opened.family.guidance_arguments(2.0)
    if "true_cfg_scale" in arguments:
        arguments |= {"negative_prompt": "", "max_sequence_length": tiny_families.T5_TOKENS}

    pipeline("a red circle", num_inference_steps=1, height=16, width=16, **arguments)

    # One call with both, or a call for each: the negative one stands first, or comes second.
    calls = recorder.calls
    negative = (
        calls[1]["encoder_hidden_states"]
        if len(calls) > 1
        else (calls[0]["encoder_hidden_states"][:1])
    )
    empty = opened.family.empty_conditions()["prompt_embeds"]
    torch.testing.assert_close(empty, negative)


def test_latents_are_normalised_both_ways(opened: Opened) -> None:
    pictures = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    family, vae = opened.family, opened.family.vae

    latents = family.encode_pictures(pictures)

    with torch.no_grad():
        raw = vae.encode(pictures).latent_dist.mode()
        expected = (vae.decode(raw).sample / 2 + 0.5).clamp(0, 1)
    shift = getattr(vae.config, "shift_factor", None) or 0.0
    torch.testing.assert_close(latents, (raw - shift) * vae.config.scaling_factor)
    torch.testing.assert_close(family.decode(latents), expected)


def test_captions_do_not_depend_on_their_neighbours(opened: Opened) -> None:
    both: Conditions = opened.family.encode_captions(PROMPTS)
    alone: Conditions = opened.family.encode_captions(PROMPTS[1:])

    for name, rows in both.items():
        torch.testing.assert_close(rows[1:], alone[name])
        assert not torch.allclose(rows[0], rows[1]), "two captions are read as one"


def test_settings_without_a_meaning_are_refused(tmp_path: Path) -> None:
    flux, sdxl = of("flux", tmp_path / "flux").family, of("sdxl", tmp_path / "sdxl").family

    with pytest.raises(Refused, match="snrGamma is set") as gamma:
        flux.objective(ObjectiveSettings(snr_gamma=5.0))
    with pytest.raises(Refused, match="guidanceScale is set"):
        flux.objective(ObjectiveSettings(flow=FlowMatchingTraining(guidance_scale="2")))
    with pytest.raises(Refused, match="noiseOffset is set"):
        flux.objective(ObjectiveSettings(noise_offset=0.1))
    with pytest.raises(Refused, match="flowMatching is set") as flow:
        sdxl.objective(ObjectiveSettings(flow=FlowMatchingTraining()))

    assert gamma.value.exit_code == flow.value.exit_code == ExitCode.BAD_RUN_SPEC


def levels(flow: FlowMatchingTraining, shift: float = 1.0) -> Tensor:
    return FlowMatching(shift, flow).draw_levels(20_000, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("distribution", LevelDistribution)
def test_levels_of_noise_are_shares(distribution: LevelDistribution) -> None:
    drawn_levels = levels(FlowMatchingTraining(levels=distribution), shift=3.0)

    assert (float(drawn_levels.min()) > 0, float(drawn_levels.max()) <= 1) == (True, True)
    assert drawn_levels.dtype == torch.float32


def test_levels_are_distributed_as_their_names_say() -> None:
    uniform = levels(FlowMatchingTraining())
    normal = levels(FlowMatchingTraining(levels="LogitNormal", logit_mean="-0.5", logit_std="0.8"))
    mode = levels(FlowMatchingTraining(levels="Mode", mode_scale="1.29"))

    assert uniform.mean() == pytest.approx(0.5, abs=0.01)
    assert torch.logit(normal.double()).mean() == pytest.approx(-0.5, abs=0.02)
    assert torch.logit(normal.double()).std() == pytest.approx(0.8, abs=0.02)
    # Above 0, the mode is in the middle: fewer levels at both ends than uniform ones.
    ends = ((mode < 0.1) | (mode > 0.9)).float().mean()
    assert ends < 0.15 < ((uniform < 0.1) | (uniform > 0.9)).float().mean()


@pytest.mark.parametrize(
    ("name", "flow", "shift"),
    [
        ("flux", FlowMatchingTraining(), 1.0),
        ("flux-shifted", FlowMatchingTraining(), 3.0),
        ("flux", FlowMatchingTraining(shift="2"), 2.0),
    ],
)
def test_levels_are_shifted_as_the_base_or_the_training_says(
    tmp_path: Path, name: str, flow: FlowMatchingTraining, shift: float
) -> None:
    objective = of(name, tmp_path).family.objective(ObjectiveSettings(flow=flow))

    middle = float(objective.levels_at([0.5])[0])

    assert middle == pytest.approx(shift * 0.5 / (1 + (shift - 1) * 0.5))


def test_a_shift_by_resolution_is_the_pipelines(tmp_path: Path) -> None:
    opened = of("flux", tmp_path)
    settings = ObjectiveSettings(flow=FlowMatchingTraining(shift_by_resolution=True))
    scheduler: Any = plain(opened).scheduler

    for side in (16, 256):
        tokens = (side // opened.family.size_multiple) ** 2
        scheduler.set_timesteps(sigmas=[0.5], mu=0.5 + 0.65 * (tokens - 256) / (4096 - 256))
        objective = opened.family.objective(replace(settings, resolution=side))
        assert float(objective.levels_at([0.5])[0]) == pytest.approx(float(scheduler.sigmas[0]))
