"""Every family trains a shard, evaluates and draws it, and its base may be in shards."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tests.tiny import RESOLUTION, some_data
from tests.tiny_families import a_flux_base, an_sdxl_base
from tests.training.runs import Ground, a_training

from stockpot.api.runspec import BaseRef, EvaluateRun, Location, MergeRun, Place, StoreRef
from stockpot.core.digests import Digest
from stockpot.core.recipe import recipe_of
from stockpot.diffusion.families.registry import open_family
from stockpot.diffusion.records import read_folder
from stockpot.errors import Refused
from stockpot.evaluation.run import run as evaluate
from stockpot.merging.run import run as merge
from stockpot.metrics.progress import Progress
from stockpot.training.latent_cache import encode_records

BASES: dict[str, Callable[[Path], Path]] = {"sdxl": an_sdxl_base, "flux": a_flux_base}
DENOISERS = {"sdxl": "unet", "flux": "transformer"}


@pytest.fixture(scope="module", params=BASES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def family_base(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return BASES[kind](tmp_path_factory.mktemp(kind) / "base")


def a_plain_training(**fields: Any) -> Any:
    return a_training(**{"snr_gamma": None, "max_train_steps": 4, **fields})


def in_shards(base: Path, denoiser: str) -> None:
    """Part the denoiser's weights into two files with an index."""
    whole = base / denoiser / "diffusion_pytorch_model.safetensors"
    tensors = load_file(whole)
    keys = sorted(tensors)
    weight_map = {}
    for number, some in enumerate((keys[::2], keys[1::2]), start=1):
        name = f"diffusion_pytorch_model-{number:05d}-of-00002.safetensors"
        save_file({key: tensors[key] for key in some}, base / denoiser / name)
        weight_map |= dict.fromkeys(some, name)
    whole.unlink()
    index = base / denoiser / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def test_a_shard_is_trained_twice_to_the_same_bytes(
    kind: str, family_base: Path, data: Path, tmp_path: Path
) -> None:
    first = Ground(tmp_path / "first", family_base, data)
    other = Ground(tmp_path / "other", family_base, data)

    trained = first.train(training=a_plain_training())
    again = other.train(training=a_plain_training())

    assert trained.weights_digest == again.weights_digest
    base = load_file(family_base / DENOISERS[kind] / "diffusion_pytorch_model.safetensors")
    ours = load_file(first.weights(trained))
    assert ours.keys() == base.keys()
    assert any(not torch.equal(ours[key].float(), base[key].half().float()) for key in base)


def test_a_base_in_shards_trains_and_serves_as_the_whole_one(
    kind: str, family_base: Path, data: Path, tmp_path: Path
) -> None:
    whole = Ground(tmp_path / "whole", family_base, data)
    parted = Ground(tmp_path / "parted", BASES[kind](tmp_path / "base"), data)
    in_shards(parted.base, DENOISERS[kind])

    weights = [
        load_file(ground.weights(ground.train(training=a_plain_training())))
        for ground in (whole, parted)
    ]
    revisions = [base_revision(ground) for ground in (whole, parted)]

    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert revisions[0].weights_digest == revisions[1].weights_digest


def base_revision(ground: Ground) -> Any:
    """Publish the base itself as a revision, as a Soup without shards does."""
    spec = ground.spec()
    ground.work.mkdir(parents=True, exist_ok=True)
    digest = recipe_of((), "fp16").digest
    run = MergeRun.model_validate(
        {
            "name": "merge",
            "store": spec.store,
            "soup": spec.soup,
            "base": spec.base,
            "recipe_digest": digest,
            "parts": (),
            "output": "fp16",
        }
    )
    return merge(run, work=ground.work, progress=Progress(), stop=threading.Event())


def test_a_revision_is_evaluated_and_drawn(family_base: Path, data: Path, tmp_path: Path) -> None:
    ground = Ground(tmp_path, family_base, data)
    made = base_revision(ground)
    held_out = some_data(tmp_path / "held-out", n=3, seed=9)
    spec = EvaluateRun.model_validate(
        {
            "name": "evaluate",
            "store": StoreRef(url=ground.store.as_uri()),
            "soup": ground.spec().soup,
            "base": BaseRef(location=Location(place=Place.FOLDER, path=str(family_base))),
            "revision": {
                "recipe_digest": made.recipe_digest,
                "weights_digest": made.weights_digest,
                "lineage": (),
            },
            "suite": [
                {"name": "heldout_loss", "options": {"levels": "4"}},
                {"name": "style", "options": {"prompts": "a red circle", "count": "2"}},
            ],
            "held_out": Location(place=Place.FOLDER, path=str(held_out)),
            "resolution": 16,
        }
    )

    result = evaluate(spec, work=ground.work, progress=Progress(), stop=threading.Event())

    # A denoiser of random weights predicts about nothing: the loss is the target's variance.
    assert 0.5 < float(result.figures["heldout_loss"]) < 4.0
    assert set(result.figures) == {"heldout_loss", "saturation_mean", "dark_share"}


def test_captions_are_encoded_in_the_batches_that_they_always_were(
    kind: str, family_base: Path, tmp_path: Path
) -> None:
    words = ("red", "green", "blue", "yellow", "black", "purple", "big", "circle", "square", "bar")
    captions = [f"a {first} {second}" for first in words for second in words]
    data = tmp_path / "data"
    data.mkdir()
    lines = []
    for number, caption in enumerate(captions):
        Image.new("RGB", (RESOLUTION, RESOLUTION), (number, 0, 0)).save(data / f"{number}.png")
        lines.append(json.dumps({"file_name": f"{number}.png", "text": caption}))
    (data / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    family = open_family(family_base)
    texts = ["", *sorted(captions)]

    encoded = encode_records(
        family,
        read_folder(data).records,
        a_plain_training(),
        base=Digest("sha256:" + "1" * 64),
        data=Digest("sha256:" + "2" * 64),
        work=tmp_path,
        progress=Progress(),
        stop=threading.Event(),
    )

    # In other batches the last bits differ, and with them every byte of a training.
    batches = [family.encode_captions(texts[at : at + 64]) for at in range(0, len(texts), 64)]
    for name, rows in encoded.conditions.items():
        expected = torch.cat([batch[name] for batch in batches])
        if kind == "sdxl":
            expected[0] = 0
        assert torch.equal(rows, expected)


def test_settings_of_another_family_are_refused(
    kind: str, family_base: Path, data: Path, tmp_path: Path
) -> None:
    wrong = {"flow_matching": {}} if kind == "sdxl" else {"snr_gamma": "5"}

    with pytest.raises(Refused, match="is set, and this base"):
        Ground(tmp_path, family_base, data).train(training=a_plain_training(**wrong))
