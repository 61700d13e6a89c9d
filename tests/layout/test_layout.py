"""How the repository is laid out, where no other tool would notice.

Invariant 12.
"""

import ast
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "stockpot"

# What runs in the slim image, or must answer at once.
SLIM = (
    "authentication",
    "cli",
    "controller",
    "core",
    "local",
    "merging",
    "metrics",
    "reconcile",
    "store",
    "unlearning",
    "workload",
)
TORCHES = {"torch", "diffusers", "transformers", "accelerate"}

# In two halves, so that this file does not carry what it looks for. At the beginning of a path:
# a folder of that name within another is nobody's machine.
PATHS = tuple(
    rf"(?<![\w}})*./])/{folder}" + "/|///" + folder + "/" for folder in ("work", "root", "home")
)
REGISTRIES = (
    "pypi" + r"\.org",
    "pythonhosted" + r"\.org",
    "registry.npmjs" + r"\.org",
    "crates" + r"\.io/api",
    "proxy.golang" + r"\.org",
    "download.pytorch" + r"\.org",
)


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def tracked() -> list[Path]:
    listed = run("git", "ls-files", "-z")
    assert listed.returncode == 0, listed.stderr
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_the_operator_folder_cannot_shadow_the_standard_library() -> None:
    # `python -m anything` from the root would die while starting.
    assert {path.name for path in (ROOT / "operator").glob("*.py")} == {"main.py"}


def test_the_operator_folder_only_starts_what_is_elsewhere() -> None:
    assert len((ROOT / "operator" / "main.py").read_text().splitlines()) <= 30


def test_imports_go_one_way() -> None:
    linted = run(
        sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"
    )

    assert linted.returncode == 0, linted.stdout


def test_nothing_that_is_slim_loads_torch() -> None:
    modules = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        for name in SLIM
        for path in sorted((PACKAGE / name).rglob("*.py"))
        if path.name != "__main__.py"
    ]
    program = (
        "import importlib, sys\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(name)\n"
        f"    loaded = {TORCHES!r} & sys.modules.keys()\n"
        "    assert not loaded, f'{name} loads {loaded}'\n"
    )

    loaded = run(sys.executable, "-c", program)

    assert loaded.returncode == 0, loaded.stderr


def test_every_module_opens_with_its_rule() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in PACKAGE.rglob("*.py")
        if not ast.get_docstring(ast.parse(path.read_text()))
    ]

    assert silent == []


def test_an_old_python_can_read_the_sentence_that_refuses_it() -> None:
    source = (PACKAGE / "__init__.py").read_text()

    tree = ast.parse(source, feature_version=(3, 7))

    assert "sys.version_info < (3, 11)" in source
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]


@pytest.mark.parametrize("words", [PATHS, REGISTRIES], ids=["paths", "registries"])
def test_no_file_knows_the_machine_that_it_was_written_on(words: tuple[str, ...]) -> None:
    known = re.compile("|".join(words).encode())

    known_paths = [
        f"{path.relative_to(ROOT)}: {hit.group().decode()}"
        for path in tracked()
        if (hit := known.search(path.read_bytes()))
    ]

    assert known_paths == []


@pytest.mark.parametrize(
    "text",
    ["cd /" + "work/main", '"/' + "root/x", "file:///" + "home/me", "https://pypi" + ".org/"],
)
def test_a_file_that_knew_the_machine_would_be_found(text: str) -> None:
    assert re.search("|".join([*PATHS, *REGISTRIES]), text)


def test_make_lists_its_targets() -> None:
    listed = run("make", "--no-print-directory")

    assert listed.returncode == 0, listed.stderr
    assert re.search(r"^make test +\S", listed.stdout, re.MULTILINE)


def test_ci_runs_what_anybody_runs() -> None:
    script = ROOT / ".ci" / "run"

    assert os.access(script, os.X_OK)
    assert script.read_text().splitlines()[-1] == "exec make test"


@pytest.mark.parametrize("lock", ["dev", "slim", "unit", "workload", "uv"])
def test_every_locked_package_has_its_hashes(lock: str) -> None:
    text = (ROOT / "requirements" / f"{lock}.txt").read_text().replace("\\\n", " ")
    packages = [line for line in text.splitlines() if line and not line.startswith("#")]

    assert packages
    assert [line for line in packages if "==" not in line or "--hash=sha256:" not in line] == []


def test_the_slim_and_unit_locks_have_no_torch_and_the_workloads_lock_has() -> None:
    for lock in ("slim", "unit"):
        assert "torch==" not in (ROOT / "requirements" / f"{lock}.txt").read_text()
    assert "\ntorch==" in (ROOT / "requirements" / "workload.txt").read_text()


def test_every_dependency_is_in_its_lock() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    every_group = [entry for group in groups.values() for entry in group if isinstance(entry, str)]
    workload = project["project"]["optional-dependencies"]["workload"]
    wanted = {
        "slim": project["project"]["dependencies"],
        "workload": [*project["project"]["dependencies"], *workload],
        "dev": [*project["project"]["dependencies"], *workload, *every_group],
        "unit": [*project["project"]["dependencies"], *groups["unit"]],
    }

    for lock, entries in wanted.items():
        text = (ROOT / "requirements" / f"{lock}.txt").read_text().lower()
        names = {re.split(r"[^\w.-]", entry)[0].lower().replace("_", "-") for entry in entries}
        missing = [name for name in sorted(names) if not re.search(rf"^{name}==", text, re.M)]
        assert missing == [], f"{lock}: run: make lock"


def test_the_version_is_said_once_for_pip_and_once_for_python() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())

    spec = importlib.util.find_spec("stockpot")
    assert spec is not None
    assert (
        f'__version__ = "{project["project"]["version"]}"' in (PACKAGE / "__init__.py").read_text()
    )
