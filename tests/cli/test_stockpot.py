"""The command as a person meets it: in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from tests.plugins import lay_package

from stockpot.cli.main import COMMANDS, load
from stockpot.errors import ExitCode

GOOD = """\
apiVersion: stockpot.dev/v1alpha1
kind: DataShard
metadata: {name: food}
spec: {soupRef: {name: emoji}, source: {s3: {prefix: data/food/}}}
"""


def stockpot(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stockpot.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


def test_help_lists_what_people_use_and_not_what_processes_use() -> None:
    said = stockpot("--help")

    assert said.returncode == ExitCode.OK
    assert "lint" in said.stdout
    assert "local" in said.stdout
    assert "generate" not in said.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_what_a_command_is_listed_with_is_what_it_says_itself(name: str) -> None:
    command = load(name)

    assert isinstance(command, click.Command)
    assert (command.help or "").splitlines()[0] == COMMANDS[name].summary


def test_lint_is_content_with_a_good_manifest(tmp_path: Path) -> None:
    (tmp_path / "food.yaml").write_text(GOOD)

    said = stockpot("lint", tmp_path)

    assert (said.returncode, said.stdout) == (0, "1 file, nothing wrong: 1 DataShard\n")


def test_lint_shows_every_mistake_and_ends_with_3(tmp_path: Path) -> None:
    (tmp_path / "food.yaml").write_text(
        GOOD.replace("food}", "Food}") + "---\n" + GOOD.replace("s3", "s33")
    )

    said = stockpot("lint", "food.yaml", cwd=tmp_path)

    assert said.returncode == ExitCode.INVALID
    assert said.stdout == ""
    assert said.stderr.startswith("error: 2 mistakes\n  food.yaml:3: metadata.name is Food; ")
    assert "\n  food.yaml:9: unknown field spec.source.s33; did you mean s3?" in said.stderr


def test_lint_says_what_the_first_training_would_say(tmp_path: Path) -> None:
    soup = GOOD.replace("DataShard", "Soup").partition("spec:")[0] + (
        "spec:\n"
        "  base: {pvc: {claimName: b}}\n"
        "  training:\n"
        "    method: {name: Lora}\n"
        '    optimizer: {options: {lr: "1e-4"}}\n'
        "  evaluation: {suite: [{name: fid}]}\n"
    )
    (tmp_path / "soup.yaml").write_text(soup)

    said = stockpot("lint", "soup.yaml", cwd=tmp_path)
    elsewhere = stockpot("lint", "soup.yaml", "--plugin", "Lora", "--plugin", "fid", cwd=tmp_path)

    assert (said.returncode, elsewhere.returncode) == (ExitCode.INVALID, ExitCode.INVALID)
    assert "soup.yaml:7: there is no training method Lora; there is FineTune; " in said.stderr
    assert "soup.yaml:8: AdamW has no option lr; its options are " in said.stderr
    assert "soup.yaml:9: there is no evaluator fid; there is heldout_loss, " in said.stderr
    assert elsewhere.stderr.startswith("error: soup.yaml:8: AdamW has no option lr; ")


def test_lint_loads_a_weighting_as_the_operator_will_and_knows_the_options_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_package(
        tmp_path / "packages",
        "mine",
        "class Broken:\n  def __init__(self): raise OSError('no licence')\n"
        "import pydantic\n"
        "class Options(pydantic.BaseModel):\n  rank: int = pydantic.Field(4, ge=1)\n",
        {
            "stockpot.weighting": {"Mine": "Broken"},
            "stockpot.training": {"Lora": "Broken"},
            "stockpot.training.options": {"Lora": "Options"},
        },
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "packages"), *sys.path]))
    (tmp_path / "soup.yaml").write_text(
        GOOD.replace("DataShard", "Soup").partition("spec:")[0]
        + "spec:\n  base: {pvc: {claimName: b}}\n"
        "  merge: {weighting: {name: Mine}}\n"
        '  training: {method: {name: Lora, options: {rank: "%s"}}}\n'
    )
    text = (tmp_path / "soup.yaml").read_text()

    (tmp_path / "soup.yaml").write_text(text % "8")
    weighting = stockpot("lint", "soup.yaml", cwd=tmp_path)
    (tmp_path / "soup.yaml").write_text((text % "0").replace("name: Mine", "name: Declared"))
    option = stockpot("lint", "soup.yaml", cwd=tmp_path)

    assert weighting.stderr == (
        "error: soup.yaml:6: Mine of the package mine cannot be used: it cannot be made from its "
        "options {}: OSError: no licence\n"
        "  help: mend or remove the package mine (mine:Broken)\n"
    )
    assert option.stderr == "error: soup.yaml:7: Lora's rank is 0; it must be at least 1\n"


def test_lint_notes_what_is_not_wrong_and_reads_the_standard_input(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stockpot.cli", "lint", "-"]
    text = GOOD + "---\napiVersion: v1\nkind: Secret\nmetadata: {name: store}\n"

    said = subprocess.run(command, capture_output=True, text=True, check=False, input=text)

    assert (said.returncode, said.stdout) == (0, "1 file, nothing wrong: 1 DataShard\n")
    assert said.stderr == (
        "note: standard input:6: Secret store is not Stockpot's, and is left aside\n"
        "note: standard input:4: DataShard food names the Soup emoji, which is not in these files; "
        "the shard waits until there is a Soup of that name\n"
    )


def test_an_error_says_what_happened_and_then_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "food.yaml").write_text(GOOD.replace("soupRef: {name: emoji}, ", ""))

    said = stockpot("lint", "food.yaml", cwd=tmp_path)

    assert said.stderr == (
        "error: food.yaml:4: spec.soupRef is missing\n"
        "  help: write, for example, soupRef: {name: emoji}\n"
    )


def test_wrong_arguments_end_with_2() -> None:
    assert stockpot("lint").returncode == ExitCode.USAGE
    assert stockpot("stew").returncode == ExitCode.USAGE


def test_generate_says_what_has_drifted_and_how_to_put_it_right(tmp_path: Path) -> None:
    said = stockpot("generate", "--check", "--root", tmp_path)

    assert said.returncode == ExitCode.INVALID
    assert "crds/datashards.yaml" in said.stderr
    assert said.stderr.endswith("help: run: make generate\n")


def test_generate_leaves_nothing_that_has_drifted(tmp_path: Path) -> None:
    stockpot("generate", "--root", tmp_path)

    assert stockpot("generate", "--check", "--root", tmp_path).returncode == ExitCode.OK


def test_the_operator_says_which_settings_it_lacks(tmp_path: Path) -> None:
    main = Path(__file__).parents[2] / "operator" / "main.py"
    settings = tmp_path / "settings.yaml"

    said = subprocess.run(
        [sys.executable, main, "run", "--settings", settings],
        capture_output=True,
        text=True,
        check=False,
    )

    told = json.loads(said.stderr)
    assert said.returncode == ExitCode.INVALID
    assert told["message"] == f"{settings} cannot be read: No such file or directory"
    assert "install the chart" in told["help"]
