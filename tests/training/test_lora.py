"""LoRA as a training method: its factors, its ingredient, and soups that fold it exactly."""

import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file
from tests.tiny import a_base, some_data
from tests.tiny_families import T5_TOKENS, a_flux_base, an_sdxl_base
from tests.training.runs import Ground, a_training

from stockpot.api.manifest import IngredientForm, RecipePart
from stockpot.api.results import MergeResult, TrainResult
from stockpot.api.runspec import MergeRun
from stockpot.core.recipe import Ingredient, ShardUID, recipe_of
from stockpot.diffusion.drawing import draw
from stockpot.diffusion.families.port import Drawing
from stockpot.diffusion.families.registry import open_family
from stockpot.errors import ExitCode, Refused
from stockpot.merging.run import run as merge
from stockpot.metrics.progress import Progress
from stockpot.store.artefacts import read_manifest
from stockpot.store.base import denoiser_files
from stockpot.store.folder import FolderStore
from stockpot.store.keys import WEIGHTS, Keys

KEYS = Keys("ml")
BASES: dict[str, Callable[[Path], Path]] = {"sd": a_base, "sdxl": an_sdxl_base, "flux": a_flux_base}
DENOISERS = {"sd": "unet", "sdxl": "unet", "flux": "transformer"}


@pytest.fixture(scope="module", params=BASES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def lora_base(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return BASES[kind](tmp_path_factory.mktemp(kind) / "base")


def a_lora(steps: int = 4, **options: str) -> Any:
    return a_training(
        method={"name": "LoRA", "options": {"rank": "2", **options}},
        snr_gamma=None,
        max_train_steps=steps,
        optimizer={"options": {"learningRate": "1e-2"}},
        ema=None,
    )


def ingredient(ground: Ground, trained: TrainResult, shard: str = "food") -> dict[str, Any]:
    return load_file(ground.weights(trained, shard))


def soup_of(ground: Ground, *trained: tuple[str, TrainResult, int]) -> MergeResult:
    """Merge the named shards, each with a weight."""
    spec = ground.spec()
    recipe = recipe_of(
        (
            (
                Ingredient(ShardUID(f"{shard}-uid"), result.training_key),
                result.weights_digest,
                Fraction(weight),
            )
            for shard, result, weight in trained
        ),
        "fp32",
    )
    parts = [
        RecipePart(
            shard_uid=part.ingredient.shard,
            training_key=part.ingredient.key,
            weights_digest=part.weights,
            weight=part.weight,
        )
        for part in recipe.parts
    ]
    run = MergeRun.model_validate(
        {
            "name": "merge",
            "store": spec.store,
            "soup": spec.soup,
            "base": spec.base,
            "recipe_digest": recipe.digest,
            "parts": parts,
            "output": "fp32",
        }
    )
    ground.work.mkdir(parents=True, exist_ok=True)
    return merge(run, work=ground.work, progress=Progress(), stop=threading.Event())


def revision(ground: Ground, made: MergeResult) -> Path:
    digest = made.recipe_digest.removeprefix("sha256:")
    return ground.store / f"ml/soups/soup-uid/revisions/{digest}" / WEIGHTS


def folded(base: torch.Tensor, up: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    """Fold by the definition of `lora_fusion`: float64 sums, k ascending, rounded once."""
    sums = torch.zeros(base.shape[0], base[0].numel(), dtype=torch.float64)
    for k in range(down.shape[0]):
        sums += up[:, k : k + 1].flatten(1).double() * down[k].flatten().double()
    return (base.double() + sums.view(base.shape)).float()


def test_an_ingredient_is_its_factors_in_diffusers_format(
    kind: str, lora_base: Path, data: Path, tmp_path: Path
) -> None:
    ground = Ground(tmp_path, lora_base, data)

    trained = ground.train(training=a_lora())

    tensors = ingredient(ground, trained)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    assert all(
        key.startswith(f"{DENOISERS[kind]}.") and key.endswith((".lora_A.weight", ".lora_B.weight"))
        for key in tensors
    )
    assert all(min(tensor.shape) == 2 for tensor in tensors.values())
    assert any(tensor.any() for key, tensor in tensors.items() if "lora_B" in key)
    manifest = read_manifest(
        FolderStore(ground.store), KEYS.ingredient("food-uid", str(trained.training_key))
    )
    assert manifest is not None
    assert manifest.form is IngredientForm.LORA
    again = Ground(tmp_path / "again", lora_base, data).train(training=a_lora())
    assert again.weights_digest == trained.weights_digest


def test_diffusers_draws_with_the_ingredient_what_we_draw_with_the_soup(
    kind: str, lora_base: Path, data: Path, tmp_path: Path
) -> None:
    ground = Ground(tmp_path, lora_base, data)
    trained = ground.train(training=a_lora(steps=8))
    made = soup_of(ground, ("food", trained, 1))
    pipeline: Any = DiffusionPipeline.from_pretrained(lora_base, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_lora_weights(ingredient(ground, trained))
    family = open_family(lora_base)
    arguments = {"max_sequence_length": T5_TOKENS} if kind == "flux" else {}
    theirs = pipeline(
        ["a red circle"],
        num_inference_steps=4,
        guidance_scale=1.0,
        height=16,
        width=16,
        generator=[torch.Generator().manual_seed(1)],
        output_type="np",
        **arguments,
    ).images

    denoiser = family.load_denoiser([revision(ground, made)], device="cpu", dtype=torch.float32)
    ours = draw(family, denoiser, ["a red circle"], [1], Drawing(4, 1.0, 16, 16))
    base = family.load_denoiser(denoiser_files(lora_base), device="cpu", dtype=torch.float32)
    without = draw(family, base, ["a red circle"], [1], Drawing(4, 1.0, 16, 16))

    assert np.abs(ours - theirs * 255).max() < 2.5
    assert np.abs(ours.astype(int) - without.astype(int)).max() > 2, "the LoRA changes nothing"


def test_a_soup_is_the_exact_mean_of_the_folded_ingredients(
    kind: str, lora_base: Path, tmp_path: Path
) -> None:
    grounds = {
        shard: Ground(tmp_path, lora_base, some_data(tmp_path / shard, n=6, seed=seed))
        for seed, shard in enumerate(("ants", "bees", "cats"))
    }
    trained = {
        shard: ground.train(shard=shard, training=a_lora()) for shard, ground in grounds.items()
    }
    ground = grounds["ants"]

    made = soup_of(ground, *((shard, result, 1) for shard, result in trained.items()))

    folder = lora_base / DENOISERS[kind]
    base = load_file(folder / "diffusion_pytorch_model.safetensors")
    soup = load_file(revision(ground, made))
    loras = [ingredient(ground, result, shard) for shard, result in trained.items()]
    assert soup.keys() == base.keys()
    changed = 0
    for key, tensor in base.items():
        module = f"{DENOISERS[kind]}.{key.removesuffix('.weight')}"
        if f"{module}.lora_A.weight" not in loras[0] or not key.endswith(".weight"):
            assert torch.equal(soup[key], tensor.float()), key
            continue
        changed += 1
        models = [
            folded(tensor, lora[f"{module}.lora_B.weight"], lora[f"{module}.lora_A.weight"])
            for lora in loras
        ]
        exact = [
            sum(map(Fraction, values), Fraction(0)) / 3
            for values in zip(*(model.flatten().tolist() for model in models), strict=True)
        ]
        for wanted, value in zip(exact, soup[key].flatten().tolist(), strict=True):
            # Rounded once, to the nearest fp32.
            assert (
                value == float(np.float32(np.float64(float(wanted))))
                or abs(Fraction(value) - wanted)
                <= Fraction(float(np.spacing(np.float32(abs(value))))) / 2
            )
    assert changed > 2


def test_deleting_a_lora_gives_the_bytes_of_a_soup_that_never_had_it(
    base: Path, tmp_path: Path
) -> None:
    def ground(name: str, shards: tuple[str, ...]) -> tuple[Ground, dict[str, TrainResult]]:
        made: dict[str, TrainResult] = {}
        for seed, shard in enumerate(("ants", "bees", "cats")):
            if shard in shards:
                data = some_data(tmp_path / name / shard, n=6, seed=seed)
                place = Ground(tmp_path / name, base, data)
                made[shard] = place.train(shard=shard, training=a_lora())
        return place, made

    with_it, trained = ground("with", ("ants", "bees", "cats"))
    soup_of(with_it, *((shard, result, 2) for shard, result in trained.items()))
    without, others = ground("without", ("ants", "cats"))

    after = soup_of(with_it, ("ants", trained["ants"], 2), ("cats", trained["cats"], 2))
    never = soup_of(without, *((shard, result, 2) for shard, result in others.items()))

    assert after.weights_digest == never.weights_digest


@pytest.mark.parametrize(
    ("options", "rank"),
    [
        ({"targetModules": "to_q|to_v"}, {2}),
        ({"targetModules": "attention", "rankPattern": "to_q=4"}, {2, 4}),
        ({"targetModules": "linear"}, {2}),
        ({"targetModules": "all"}, {2}),
        ({"loraAlpha": "8", "useRslora": "true", "dropout": "0.2"}, {2}),
    ],
)
def test_options_choose_layers_and_ranks(
    base: Path, data: Path, tmp_path: Path, options: dict[str, str], rank: set[int]
) -> None:
    ground = Ground(tmp_path, base, data)

    tensors = ingredient(ground, ground.train(training=a_lora(steps=1, **options)))

    downs = {key: tensor for key, tensor in tensors.items() if key.endswith("lora_A.weight")}
    assert {tensor.shape[0] for tensor in downs.values()} == rank
    if options.get("targetModules") == "to_q|to_v":
        assert {key.split(".")[-3] for key in downs} == {"to_q", "to_v"}


def test_a_rank_of_other_alpha_counts_by_the_root_if_asked(
    base: Path, data: Path, tmp_path: Path
) -> None:
    plain = Ground(tmp_path / "plain", base, data)
    rooted = Ground(tmp_path / "rooted", base, data)

    # alpha / rank is 4, and alpha / sqrt(rank) is 4 as well.
    first = plain.train(training=a_lora(steps=2, rank="4", loraAlpha="16"))
    other = rooted.train(training=a_lora(steps=2, rank="4", loraAlpha="8", useRslora="true"))

    assert first.weights_digest == other.weights_digest


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"targetModules": "to_z"}, "targetModules is 'to_z', and no layer"),
        ({"rankPattern": "to_z=4"}, "rankPattern names no layer that is trained: to_z"),
        ({"rankPattern": "to_q"}, "no list of NAME=RANK"),
        ({"rank": "0"}, "it must be at least 1"),
        ({"useRslora": "yes"}, "neither true nor false"),
    ],
)
def test_options_that_choose_nothing_are_refused(
    base: Path, data: Path, tmp_path: Path, options: dict[str, str], sentence: str
) -> None:
    with pytest.raises(Refused) as refused:
        Ground(tmp_path, base, data).train(training=a_lora(**options))

    assert sentence in refused.value.message
    assert refused.value.exit_code == ExitCode.BAD_RUN_SPEC


def test_an_ingredient_that_was_edited_is_refused(base: Path, data: Path, tmp_path: Path) -> None:
    ground = Ground(tmp_path, base, data)
    trained = ground.train(training=a_lora())
    path = ground.weights(trained)
    edited = bytearray(path.read_bytes())
    edited[-1] ^= 1
    path.write_bytes(bytes(edited))

    with pytest.raises(Refused, match="it was edited") as refused:
        soup_of(ground, ("food", trained, 1))

    assert refused.value.exit_code == ExitCode.BAD_WEIGHTS
