"""Markers say what a test needs: those of `make unit` need neither torch nor a cluster."""

import re
from pathlib import Path

import pytest
from tests import markers

ROOT = Path(__file__).parents[2]
CI = "not chaos and not benchmark"


@pytest.mark.parametrize(
    "name",
    [
        "tests/training/test_run.py",  # itself
        "tests/serving/test_grants.py",  # its conftest
        "tests/local/test_the_first_soup.py",  # a module of the tests
        "tests/diffusion/test_prompts.py",  # a module of the package
    ],
)
def test_a_file_that_imports_torch_in_any_way_is_marked(name: str) -> None:
    assert markers.needs_torch(ROOT / name)


@pytest.mark.parametrize("name", ["tests/spec/test_a_soup_goes.py", "tests/simulate/histories.py"])
def test_a_file_that_does_not_import_torch_is_not_marked(name: str) -> None:
    assert not markers.needs_torch(ROOT / name)


def test_an_import_within_a_function_does_not_count(tmp_path: Path) -> None:
    file = tmp_path / "test_a.py"
    file.write_text("import json\nfrom os import path\ndef f():\n    import torch\n")

    assert markers.imports(file) == ("json", "os", "os.path")


def test_an_import_that_is_tried_counts(tmp_path: Path) -> None:
    file = tmp_path / "test_a.py"
    file.write_text("try:\n    import torch\nexcept ImportError:\n    pass\n")

    assert markers.imports(file) == ("torch",)


def test_make_leaves_out_what_the_markers_say() -> None:
    makefiles = "".join(path.read_text() for path in sorted((ROOT / "make").glob("*.mk")))
    selections = re.findall(r"^(\w+) := ((?:not )?[a-z]+(?: and not [a-z]+)+)$", makefiles, re.M)

    assert {name for _, text in selections for name in re.findall(r"not (\w+)", text)} == {
        *markers.MARKERS
    }
