"""`stockpot check base`: every planted fault is named, and nothing else."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import save
from tests.store.test_base import FILES, INDEX

from stockpot.cli.check import check
from stockpot.cli.main import COMMANDS
from stockpot.errors import ExitCode
from stockpot.store.base_rules import Ignored

WEIGHTS = save({"a": np.ones(2, np.float16)})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


def checked(folder: Path, *options: str) -> tuple[int, Any]:
    result = CliRunner().invoke(
        check, ["base", str(folder), "--json", *options], standalone_mode=False
    )
    assert result.exception is None, result.output
    return int(result.return_value), json.loads(result.output)


def narrow() -> bytes:
    header = json.dumps({"w": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}).encode()
    return len(header).to_bytes(8, "little") + header + b"\0\0"


def index(**fields: Any) -> bytes:
    return json.dumps({**INDEX, **fields}).encode()


PLANTED: dict[str, tuple[str, str, Callable[[], bytes | None]]] = {
    "no index": ("model_index.json", "no-pipeline", lambda: None),
    "another pipeline": (
        "model_index.json",
        "unknown-pipeline",
        lambda: index(_class_name="Kolors"),
    ),
    "another class": ("model_index.json", "unknown-class", lambda: index(vae=["os", "system"])),
    "another component": ("model_index.json", "unknown-component", lambda: index(hook=["a", "b"])),
    "no component": ("model_index.json", "missing-component", lambda: index(unet=[None, None])),
    "code": ("unet/config.json", "names-code", lambda: b'{"auto_map": {}}'),
    "no configuration": ("vae/config.json", "missing-file", lambda: None),
    "a broken configuration": ("vae/config.json", "broken-config", lambda: b"{"),
    "no weights": ("unet/diffusion_pytorch_model.safetensors", "missing-file", lambda: None),
    "weights cut short": (
        "vae/diffusion_pytorch_model.safetensors",
        "broken-weights",
        lambda: WEIGHTS[:-1],
    ),
    "fp8": ("unet/diffusion_pytorch_model.safetensors", "quantised", narrow),
    "no vocabulary": ("tokenizer/vocab.txt", "missing-file", lambda: None),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_fault_is_named_and_nothing_else(folder: Path, planted: str) -> None:
    file, rule, content = PLANTED[planted]
    data = content()
    (folder / file).unlink() if data is None else (folder / file).write_bytes(data)

    code, document = checked(folder)

    faults = [(fault["rule"], fault["file"]) for fault in document["faults"]]
    assert (code, faults) == (ExitCode.BAD_BASE, [(rule, "" if rule == "no-pipeline" else file)])
    assert document["faults"][0]["help"]


def test_twelve_faults_at_once_are_twelve_faults(folder: Path) -> None:
    for name, config in (("vae", b"{"), ("text_encoder", b'{"auto_map": {}}'), ("unet", b"[]")):
        (folder / name / "config.json").write_bytes(config)
    (folder / "unet/diffusion_pytorch_model.safetensors").write_bytes(narrow())
    (folder / "vae/diffusion_pytorch_model.safetensors").write_bytes(WEIGHTS[:-1])
    (folder / "text_encoder/model.safetensors").unlink()
    (folder / "tokenizer/vocab.txt").unlink()
    (folder / "tokenizer/tokenizer_config.json").write_bytes(b"{")
    (folder / "scheduler/scheduler_config.json").unlink()
    (folder / "model_index.json").write_bytes(
        index(hook=["a", "b"], vae=["os", "system"], trust_remote_code=True)
    )

    _, document = checked(folder)

    assert sorted(fault["rule"] for fault in document["faults"]) == [
        *["broken-config"] * 3,
        "broken-weights",
        *["missing-file"] * 3,
        *["names-code"] * 2,
        "quantised",
        "unknown-class",
        "unknown-component",
    ]


def test_a_good_base_is_said_to_be_good_with_what_is_not_used_of_it(folder: Path) -> None:
    (folder / "unet/diffusion_pytorch_model.bin").write_bytes(b"")
    (folder / "preview.png").write_bytes(b"")

    result = CliRunner().invoke(check, ["base", str(folder)], standalone_mode=False)

    assert result.return_value == ExitCode.OK
    assert result.output.splitlines() == [
        "not used: 1 files that no pipeline needs: preview.png",
        f"not used: 1 {Ignored.PICKLE}: unet/diffusion_pytorch_model.bin",
        "StableDiffusionPipeline, 10 files used: nothing wrong",
    ]


def test_faults_are_a_table_that_says_what_to_do(folder: Path) -> None:
    (folder / "vae/config.json").unlink()

    result = CliRunner().invoke(check, ["base", str(folder)], standalone_mode=False)

    rows = result.output.splitlines()
    assert rows[0].split() == ["RULE", "FILE", "WHAT", "WHAT", "TO", "DO"]
    assert rows[1].startswith("missing-file  vae/config.json  the base has no vae/config.json")
    assert "bring the whole folder" in rows[1]
    assert rows[-1] == "StableDiffusionPipeline, 9 files used: 1 fault"


def test_it_is_listed() -> None:
    assert "check" in COMMANDS
