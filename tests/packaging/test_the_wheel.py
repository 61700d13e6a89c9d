"""The package as it is installed: what the wheel holds, and what commands say without an extra."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from tests.packaging.conftest import ROOT, Environment, Install, call, uv

from stockpot.cli.main import COMMANDS
from stockpot.errors import ExitCode
from stockpot.extras import EXTRAS, MissingExtra, extra_named, require

IMPORTED_AS = {"pillow": "PIL", "protobuf": "google"}
"""Distributions that are imported by another name than their own."""
TRAIN = {
    "verb": "train",
    "name": "train-1",
    "request": "sha256:" + "0" * 64,
    "store": {"url": "file:///nowhere"},
    "soup": {"namespace": "studio", "name": "emoji", "uid": "u1"},
    "shard": {"namespace": "studio", "name": "food", "uid": "u2"},
    "base": {"location": {"place": "folder", "path": "/nowhere"}},
    "source": {"place": "folder", "path": "/nowhere"},
    "training": {},
}
LOCAL = ("apply", "delete", "get", "plan", "watch", "down")


@pytest.fixture(scope="module")
def bare(install: Install) -> Environment:
    return install("")


def test_the_wheel_holds_what_it_needs_and_says_whose_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        [about] = [name for name in names if name.endswith(".dist-info/METADATA")]
        metadata = Parser().parsestr(archive.read(about).decode())

    folder = about.rpartition("/")[0]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert metadata["Version"] == project["version"]
    assert metadata["License-Expression"] == "Apache-2.0"
    assert {f"{folder}/licenses/LICENSE", f"{folder}/licenses/NOTICE"} <= names
    assert {"stockpot/py.typed", "stockpot/serving/page.html"} <= names
    ours = {path.relative_to(ROOT / "src").as_posix() for path in ROOT.glob("src/**/*.py")}
    assert ours <= names
    strangers = {name for name in names if not name.startswith(("stockpot/", f"{folder}/"))}
    assert not strangers


def test_the_wheel_is_for_this_machine_where_a_kernel_was_compiled(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        compiled = {name for name in archive.namelist() if name.endswith(".so")}

    if wheel.name.endswith("-any.whl"):
        assert not compiled
    else:
        assert compiled == {"stockpot/merging/_kernel.so", "stockpot/merging/_lora.so"}


def test_every_command_says_how_it_is_used_without_any_extra(bare: Environment) -> None:
    commands = [[], *([name] for name in COMMANDS), *(["local", name] for name in LOCAL)]
    # In one process: a command takes half a second to start.
    program = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from stockpot.cli.main import stockpot\n"
        f"for words in {commands!r}:\n"
        "    ended = CliRunner().invoke(stockpot, [*words, '--help'], prog_name='stockpot')\n"
        "    assert ended.exit_code == 0, (words, ended.output, ended.exception)\n"
        "    assert ended.output.startswith('Usage: stockpot'), ended.output\n"
    )

    helped = bare.run("python", "-c", program)

    assert helped.returncode == 0, helped.stderr
    assert bare.run("stockpot", "--help").returncode == 0
    assert bare.run("stockpot", "--version").stdout.startswith("stockpot, version ")
    for operator in (("stockpot-operator",), ("python", "-m", "stockpot.controller")):
        assert bare.run(*operator, "--help").stdout.startswith("usage: stockpot-operator")
    assert bare.run("python", "-m", "stockpot.workload", "--help").returncode == 0


@pytest.mark.parametrize(
    ("extra", "command"),
    [
        ("operator", "stockpot plan"),
        ("operator", "stockpot tree emoji"),
        ("operator", "stockpot-operator run --settings SETTINGS"),
        ("operator", "python -m stockpot.cluster.chart.uninstall_check studio"),
        ("operator", "python -m stockpot.cluster.chart.upgrade_check studio"),
        ("workload", "stockpot local apply -f MANIFESTS --dir state"),
        ("workload", "python -m stockpot.workload TRAIN --work scratch"),
        ("workload", "stockpot run TRAIN --work scratch --result result.json"),
    ],
)
def test_a_command_that_lacks_its_extra_names_it(
    bare: Environment, extra: str, command: str, tmp_path: Path
) -> None:
    files = {
        "MANIFESTS": ROOT / "examples/emoji",
        "SETTINGS": tmp_path / "settings.yaml",
        "TRAIN": tmp_path / "train.json",
    }
    files["TRAIN"].write_text(json.dumps(TRAIN))

    refused = bare.run(*(files.get(word, word) for word in command.split()))

    assert refused.returncode == 2, refused.stdout + refused.stderr
    assert f"the extra `{extra}` brings it" in refused.stderr
    assert f'pip install "stockpot[{extra}]"' in refused.stderr.replace('\\"', '"')
    assert "Traceback" not in refused.stderr
    assert not (bare.folder / "state").exists(), "nothing was begun"


def test_what_needs_no_extra_works_without_one(bare: Environment, tmp_path: Path) -> None:
    linted = bare.run("stockpot", "lint", ROOT / "examples/emoji")
    key = bare.run("stockpot", "keygen", "--out", tmp_path / "key.pem")
    compiled = bare.run(
        "python", "-c", "from stockpot.merging import kernel; print(kernel.__file__)"
    )
    listed = bare.run("stockpot", "local", "get", "--dir", tmp_path / "state")

    assert linted.returncode == 0, linted.stderr
    assert key.returncode == 0, key.stderr
    assert str(bare.folder) in compiled.stdout, "nothing is imported from the repository"
    assert listed.returncode == 0, listed.stderr


def test_the_operator_starts_with_its_extra(install: Install, tmp_path: Path) -> None:
    environment = install("operator")

    refused = environment.run("stockpot-operator", "run", "--settings", tmp_path / "none.yaml")
    planned = environment.run("stockpot", "plan", "--kubeconfig", tmp_path / "none")

    assert "none.yaml" in refused.stderr
    assert "no Kubernetes credentials could be read" in planned.stderr
    assert "Traceback" not in refused.stderr + planned.stderr


@pytest.mark.skipif(os.environ.get("DOCS") != "all", reason="takes long: make docs-test")
def test_the_verbs_run_with_their_extra(install: Install, tmp_path: Path) -> None:
    environment = install("workload")
    verbs = ("training", "merging", "evaluation", "serving")
    for verb in verbs:
        imported = environment.run("python", "-c", f"import stockpot.{verb}.run")
        assert imported.returncode == 0, imported.stderr

    (tmp_path / "train.json").write_text(json.dumps(TRAIN))
    trained = environment.run(
        "python", "-m", "stockpot.workload", tmp_path / "train.json", "--work", tmp_path / "work"
    )

    assert "Traceback" not in trained.stderr
    assert trained.returncode == ExitCode.BAD_BASE, trained.stderr


@pytest.mark.skipif(os.environ.get("DOCS") != "all", reason="takes long: make docs-test")
@pytest.mark.parametrize("extra", ["", "[operator]", "[workload]"])
def test_what_an_extra_asks_for_can_be_resolved(wheel: Path, extra: str, tmp_path: Path) -> None:
    # As pip would, from the wheel's own metadata; the locks only keep it from fetching more.
    call(uv(), "venv", "--quiet", "--python", sys.executable, tmp_path / "venv")
    call(
        *(uv(), "pip", "install", "--quiet", "--python", tmp_path / "venv/bin/python"),
        *("-c", ROOT / "requirements/dev.txt", f"stockpot{extra} @ {wheel.as_uri()}"),
    )

    assert Environment(tmp_path / "venv").run("stockpot", "--version").returncode == 0


def test_the_extras_are_those_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = {
        extra: {IMPORTED_AS.get(name, name) for name in map(distribution, requirements)}
        for extra, requirements in project["optional-dependencies"].items()
    }

    assert {extra: set(packages) for extra, packages in EXTRAS.items()} == listed


def distribution(requirement: str) -> str:
    return Requirement(requirement).name


def test_no_command_imports_an_optional_package_before_it_is_used() -> None:
    optional = [package for packages in EXTRAS.values() for package in packages]
    places = ("cli", "controller/app.py", "workload", "local", "cluster", "unlearning", "merging")
    modules = [
        module_of(path)
        for place in places
        for path in sorted(files_of(ROOT / "src/stockpot" / place))
        if path.name != "__main__.py"
    ]
    program = (
        "import importlib, sys\n"
        f"sys.modules.update(dict.fromkeys({optional!r}))\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(name)\n"
    )

    imported = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert imported.returncode == 0, imported.stderr


def files_of(place: Path) -> list[Path]:
    return [place] if place.is_file() else list(place.rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT / "src").with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def test_a_missing_module_of_no_extra_is_an_error_of_ours() -> None:
    with pytest.raises(ModuleNotFoundError), extra_named("stockpot plan"):
        raise ModuleNotFoundError("No module named 'stockpod'", name="stockpod")


def test_an_import_below_an_optional_package_names_the_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes", None)

    with pytest.raises(MissingExtra, match="stockpot plan needs the package kubernetes, which"):
        require("operator", "stockpot plan")
    with pytest.raises(MissingExtra, match="needs the package torch"), extra_named("training"):
        raise ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn")


def test_every_import_of_an_optional_package_is_of_an_extra() -> None:
    base = {
        re.split(r"[^\w-]", text)[0].lower().replace("-", "_")
        for text in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    }
    known = {*base, "yaml", *sys.stdlib_module_names, "stockpot"}
    known |= {package for packages in EXTRAS.values() for package in packages}

    strange = {
        (path.name, name)
        for path in (ROOT / "src").rglob("*.py")
        for name in imported_by(path)
        if name not in known
    }

    assert not strange


def imported_by(path: Path) -> set[str]:
    """The top-level packages that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import():
                names |= {alias.name.partition(".")[0] for alias in node.names}
            case ast.ImportFrom(module=str(module), level=0):
                names.add(module.partition(".")[0])
    return names
