"""kstatus, which Flux and `kubectl wait` follow, and Argo CD read our objects as we mean them."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from lupa.lua51 import LuaRuntime  # type: ignore[import-untyped]
from tests.go_programs import build_program
from tests.reconcile.health_scenes import SCENES

SOURCE = Path(__file__).with_name("kstatus")
ARGOCD = Path(__file__).parents[2] / "examples" / "argocd"


@pytest.fixture(scope="session")
def kstatus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that asks the library."""
    return build_program(SOURCE, tmp_path_factory.mktemp("go") / "kstatus")


def test_kstatus_reads_every_state_as_it_is_meant(kstatus: Path) -> None:
    things = "\n".join(json.dumps(scene.thing) for scene in SCENES.values())

    answered = subprocess.run([kstatus], input=things, capture_output=True, text=True, check=True)

    read = dict(zip(SCENES, answered.stdout.split(), strict=True))
    assert read == {name: scene.kstatus for name, scene in SCENES.items()}


def health_of(thing: dict[str, Any]) -> dict[str, str]:
    """Run the health check as Argo CD does: Lua 5.1, with the object as the global `obj`."""
    lua = LuaRuntime(unpack_returned_tuples=True)
    lua.globals().obj = lua.table_from(thing, recursive=True)
    health = lua.execute((ARGOCD / "health.lua").read_text())
    return {"status": health["status"], "message": health["message"]}


@pytest.mark.parametrize("name", SCENES)
def test_argo_cd_reads_every_state_as_it_is_meant(name: str) -> None:
    scene = SCENES[name]

    health = health_of(scene.thing)

    assert health["status"] == scene.health


def test_the_test_data_of_the_health_check_is_what_the_operator_writes() -> None:
    """`health_test.yaml` and its data are in the format of Argo CD's own tests."""
    tests = [
        {"healthStatus": health_of(scene.thing), "inputPath": f"testdata/{name}.yaml"}
        for name, scene in SCENES.items()
    ]
    texts = {"health_test.yaml": yaml.safe_dump({"tests": tests}, sort_keys=False, width=1000)}
    for name, scene in SCENES.items():
        texts[f"testdata/{name}.yaml"] = yaml.safe_dump(scene.thing, sort_keys=False, width=1000)
    if os.environ.get("GOLDEN") == "write":
        (ARGOCD / "testdata").mkdir(exist_ok=True)
        for name, text in texts.items():
            (ARGOCD / name).write_text(text)

    there = {path.name for path in (ARGOCD / "testdata").glob("*")}
    assert there == {f"{name}.yaml" for name in SCENES}
    for name, text in texts.items():
        assert (ARGOCD / name).read_text() == text, f"{name}: if it should change, make golden"
