"""Generated files are what `make generate` would write."""

import re
from pathlib import Path

import pytest

from stockpot.cli.generate import drifted, generated
from stockpot.cli.module_list import LAYERS, PACKAGE, first_line, module_list, with_module_list

ROOT = Path(__file__).parents[2]


def test_no_generated_file_has_drifted() -> None:
    assert drifted(ROOT) == [], "run: make generate"


def test_a_file_that_was_edited_by_hand_is_reported(tmp_path: Path) -> None:
    for name, text in generated(tmp_path).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "crds/soups.yaml").write_text("edited")
    (tmp_path / "crds/soupspoons.yaml").write_text("of no kind")

    assert drifted(tmp_path) == ["crds/soups.yaml", "crds/soupspoons.yaml"]


def test_the_module_list_replaces_the_old_one_and_nothing_else() -> None:
    page = with_module_list("before\n").replace("**`core/`**", "**`old/`**") + "after\n"

    renewed = with_module_list(page)

    assert renewed.startswith("before\n")
    assert renewed.endswith("after\n")
    assert "**`core/`**" in renewed
    assert "**`old/`**" not in renewed
    assert with_module_list(renewed) == renewed


def test_every_module_is_listed_in_the_order_of_the_layers() -> None:
    text = "".join(module_list())
    contract = re.search(r"layers =\n((?: +\S.*\n)+)", (ROOT / ".importlinter").read_text())
    assert contract

    assert list(LAYERS) == re.findall(r"\w+", contract[1])
    paths = [path for path in PACKAGE.rglob("*.py") if not path.name.startswith("__")]
    assert [path.name for path in paths if f"{path.name}`" not in text] == []


@pytest.mark.parametrize("text", ["", '"""One line."""', '"""One line.\n\nMore."""\nimport os'])
def test_the_first_line_of_a_docstring_is_listed(text: str, tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text(text)

    assert first_line(file) == ("One line." if text else "")
