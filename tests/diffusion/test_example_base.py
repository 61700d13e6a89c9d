"""The example's committed base, the text tower that completes it, and the training that made it."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

import stockpot.diffusion.patch_codec  # noqa: F401  diffusers looks it up, but does not import it

EMOJI = Path(__file__).parents[2] / "examples" / "emoji"
BASE = EMOJI / "base"
COMMITTED = (
    "model_index.json",
    "scheduler/scheduler_config.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
)
ASSEMBLED = (
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/tokenizer_config.json",
    "tokenizer/vocab.txt",
)


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example's scripts import one another by their bare names, as scripts do."""
    monkeypatch.syspath_prepend(str(EMOJI / "build"))


@pytest.fixture
def one_rank(scripts: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The training script, with a process group of this process alone."""
    import base

    monkeypatch.setattr(base, "RANKS", 1)
    monkeypatch.setattr(base, "BATCH_PER_RANK", 2)
    base.distributed.init_process_group(
        "gloo", store=base.distributed.HashStore(), rank=0, world_size=1
    )
    yield base
    base.distributed.destroy_process_group()


def a_complete_base(folder: Path) -> Path:
    """A copy of what is committed, completed: the tree's own folder is left alone."""
    from assemble import assemble

    for name in COMMITTED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(BASE / name, folder / name)
    assemble(folder)
    return folder


def some_prepared(base: Any) -> Any:
    randomness = torch.Generator().manual_seed(0)
    return base.Prepared(
        torch.randn(5, 2, base.LATENT_CHANNELS, 8, 8, generator=randomness),
        torch.tensor([0, 1, 2, 0, 1]),
        torch.randn(10, 12, 384, generator=randomness),
    )


def steps(base: Any, training: Any, number: int) -> None:
    data, scheduler = some_prepared(base), base.a_scheduler()
    for _ in range(number):
        training.take_step(data, scheduler, rank=0)


def test_the_committed_weights_are_small_finite_fp16_and_readable_by_all() -> None:
    file = BASE / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)

    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    assert all(bool(tensor.isfinite().all()) for tensor in weights.values())
    assert file.stat().st_size < 9_000_000
    assert file.stat().st_mode & 0o044 == 0o044


def test_no_committed_setting_tells_of_the_machine_that_made_it() -> None:
    for name in COMMITTED:
        if name.endswith(".json"):
            assert "_name_or_path" not in json.loads((BASE / name).read_text()), name


@pytest.mark.usefixtures("scripts")
def test_assembling_twice_writes_once_and_the_same_bytes_anywhere(tmp_path: Path) -> None:
    from assemble import assemble

    first, again = assemble(tmp_path / "a"), assemble(tmp_path / "a")
    assemble(tmp_path / "b")

    assert sorted(first) == sorted(ASSEMBLED)
    assert again == []
    for name in ASSEMBLED:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    files = {str(f.relative_to(tmp_path / "a")) for f in (tmp_path / "a").rglob("*") if f.is_file()}
    assert files == set(ASSEMBLED)


@pytest.mark.usefixtures("scripts")
def test_assembling_mends_a_file_that_was_cut_short(tmp_path: Path) -> None:
    from assemble import assemble

    assemble(tmp_path)
    whole = (tmp_path / "tokenizer" / "vocab.txt").read_bytes()
    (tmp_path / "tokenizer" / "vocab.txt").write_bytes(whole[:100])

    assert assemble(tmp_path) == ["tokenizer/vocab.txt"]
    assert (tmp_path / "tokenizer" / "vocab.txt").read_bytes() == whole


@pytest.mark.usefixtures("scripts")
def test_the_completed_folder_opens_with_plain_diffusers_and_draws(tmp_path: Path) -> None:
    base = a_complete_base(tmp_path)

    pipeline = StableDiffusionPipeline.from_pretrained(base, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    (picture,) = pipeline(
        ["red apple"],
        num_inference_steps=8,
        guidance_scale=3.0,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
    ).images

    assert pipeline.tokenizer.model_max_length == 12
    assert pipeline.text_encoder.config.use_attention_mask is True
    assert picture.shape == (32, 32, 3)
    middle = picture[12:20, 12:20].mean((0, 1))
    assert middle[0] > middle[1] + 0.2, "a red apple is not red"
    assert middle[0] > middle[2] + 0.2, "a red apple is not red"
    assert np.mean(picture[:4, :4]) > 0.8, "the ground is not white"


def test_a_training_that_was_cut_off_ends_with_the_same_bytes(
    one_rank: Any, tmp_path: Path
) -> None:
    uncut = one_rank.Training()
    steps(one_rank, uncut, 4)
    cut = one_rank.Training()
    steps(one_rank, cut, 2)
    cut.save(tmp_path / "checkpoint.safetensors")

    resumed = one_rank.Training()
    resumed.resume(tmp_path / "checkpoint.safetensors")
    steps(one_rank, resumed, 2)

    assert resumed.step == uncut.step == 4
    for name, weight in uncut.parameters.items():
        assert torch.equal(weight, resumed.parameters[name]), name
        assert torch.equal(uncut.average[name], resumed.average[name]), name
