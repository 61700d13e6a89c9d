"""What is made from models is as the models say."""

from pathlib import Path

from stockpot.cli.generate import drifted, generated

ROOT = Path(__file__).parents[2]


def test_no_generated_file_has_drifted() -> None:
    assert drifted(ROOT) == [], "run: make generate"


def test_a_file_that_was_edited_by_hand_is_found(tmp_path: Path) -> None:
    for name, text in generated().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "crds/soups.yaml").write_text("edited")
    (tmp_path / "crds/soupspoons.yaml").write_text("of no kind")

    assert drifted(tmp_path) == ["crds/soups.yaml", "crds/soupspoons.yaml"]
