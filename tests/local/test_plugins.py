"""A package outside Stockpot that brings a weighting, a method and an evaluator is used."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.numpy import load_file
from tests import tiny
from tests.docs.pages import blocks
from tests.local.tiny_soup import Table, lay
from tests.packaging.conftest import uv

from stockpot import extensions
from stockpot.api.conditions import Reason

pytestmark = pytest.mark.timeout(900)

PACKAGE = Path(__file__).parents[1] / "plugin_package"
SUITE = [{"name": "contrast", "options": {"prompts": "a red circle|a big bar", "steps": "1"}}]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on sys.path of all processes of the test, with the package installed into it."""
    site = tmp_path / "site"
    install = [uv(), "pip", "install", "--quiet", "--offline", "--no-deps", "--no-build-isolation"]
    into = ["--python", sys.executable, "--target", str(site), str(PACKAGE)]
    subprocess.run([*install, *into], check=True)
    monkeypatch.syspath_prepend(site)
    extensions.forget()
    yield site
    extensions.forget()


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    table = lay(
        tmp_path / "table",
        "cats",
        "dogs",
        merge={"weighting": {"name": "BySize", "options": {"power": "2"}}},
        evaluation={"suite": SUITE},
    )
    shutil.rmtree(table.root / "data/dogs")
    tiny.some_data(table.root / "data/dogs", n=4)
    manifest = (table.root / "soup.yaml").read_text()
    method = "training:\n    method: {name: CrossAttention, options: {projections: kv}}\n"
    (table.root / "soup.yaml").write_text(manifest.replace("training:\n", method))
    yield table
    table.down()


def change(site: Path, module: str, old: str, new: str) -> None:
    file = site / "studio_plugins" / f"{module}.py"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_the_page_shows_this_package() -> None:
    files = {
        block.file: block.text
        for block in blocks()
        if block.page == "docs/how-to/add-a-plug-in.md" and (PACKAGE / block.file).is_file()
    }

    assert files == {name: (PACKAGE / name).read_text() for name in files}
    assert len(files) == len(list(PACKAGE.rglob("*.py"))) + 1


@pytest.mark.usefixtures("site")
def test_all_three_kinds_are_used(table: Table) -> None:
    applied = table.apply("soup", "cats", "dogs")

    assert applied.code == 0, applied.err
    revision = next(item for item in table.revisions() if len(item.spec.parts) == 2)
    assert sorted(int(part.weight) for part in revision.spec.parts) == [1, 4], "4 and 8 records"
    assert [figure.metric for figure in revision.status.evaluation] == ["contrast"]
    base = load_file(table.root / "base" / tiny.UNET_WEIGHTS)
    for path in table.state.glob("store/default/shards/*/*/diffusion_pytorch_model.safetensors"):
        trained = load_file(path)
        changed = {key for key in base if (trained[key] != base[key].astype("float16")).any()}
        assert changed
        assert all(".attn2.to_k" in key or ".attn2.to_v" in key for key in changed)


def test_a_weighting_that_breaks_later_stops_no_deletion(site: Path, table: Table) -> None:
    table.keygen()
    assert table.apply("soup", "cats", "dogs").code == 0
    change(site, "weighting", "return tuple(", "raise ValueError('no licence')\n        tuple(")

    gone = table.delete("dogs")

    assert [receipt.spec.shard.name for receipt in table.receipts()] == ["dogs"], gone.err
    assert set(table.shards()) == {"cats"}
    condition = next(
        c for c in table.soup().status.conditions if c.reason == Reason.WEIGHTING_FAILED
    )
    assert "the weighting BySize cannot be used: it raised ValueError: no licence" in (
        condition.message
    )


def test_a_method_that_breaks_stalls_its_shards_by_name(site: Path, table: Table) -> None:
    change(site, "method", "return {", "raise KeyError('rank')\n        return {")

    applied = table.apply("soup", "cats")

    assert applied.code == 4
    conditions = table.shards()["cats"].status.conditions
    words = "CrossAttention of the package studio-plugins cannot be used: its trainable raised Key"
    assert any(words in condition.message for condition in conditions), conditions


def test_an_evaluator_that_breaks_fails_its_evaluation_by_name(site: Path, table: Table) -> None:
    change(site, "contrast", "EvaluatorResult({", "dict({")

    table.apply("soup", "cats")

    words = "contrast of the package studio-plugins cannot be used: its evaluate returned no"
    conditions = table.soup().status.conditions
    assert any(words in condition.message for condition in conditions), conditions
