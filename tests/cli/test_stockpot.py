"""The command line, run in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from tests.commands import stockpot
from tests.plugins import lay_package

from stockpot.cli.main import COMMANDS, load
from stockpot.errors import ExitCode

GOOD = """\
apiVersion: stockpot.dev/v1alpha1
kind: DataShard
metadata: {name: food}
spec: {soupRef: {name: emoji}, source: {s3: {prefix: data/food/}}}
"""


def in_a_new_interpreter(
    *arguments: str | Path, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stockpot.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


def test_help_lists_the_commands_for_users_only() -> None:
    result = in_a_new_interpreter("--help")

    assert result.returncode == ExitCode.OK
    assert "lint" in result.stdout
    assert "local" in result.stdout
    assert "generate" not in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_listed_with_the_first_line_of_its_help(name: str) -> None:
    command = load(name)

    assert isinstance(command, click.Command)
    assert (command.help or "").splitlines()[0] == COMMANDS[name].summary


def test_lint_accepts_a_valid_manifest(tmp_path: Path) -> None:
    (tmp_path / "food.yaml").write_text(GOOD)

    result = stockpot("lint", tmp_path)

    assert (result.returncode, result.stdout) == (0, "1 file, nothing wrong: 1 DataShard\n")


def test_lint_shows_every_mistake_and_ends_with_3(tmp_path: Path) -> None:
    (tmp_path / "food.yaml").write_text(
        GOOD.replace("food}", "Food}") + "---\n" + GOOD.replace("s3", "s33")
    )

    result = stockpot("lint", "food.yaml", cwd=tmp_path)

    assert result.returncode == ExitCode.INVALID
    assert result.stdout == ""
    assert result.stderr.startswith("error: 2 mistakes\n  food.yaml:3: metadata.name is Food; ")
    assert "\n  food.yaml:9: unknown field spec.source.s33; did you mean s3?" in result.stderr


def test_lint_reports_what_the_first_training_would_report(tmp_path: Path) -> None:
    soup = GOOD.replace("DataShard", "Soup").partition("spec:")[0] + (
        "spec:\n"
        "  base: {pvc: {claimName: b}}\n"
        "  training:\n"
        "    method: {name: Lora}\n"
        '    optimizer: {options: {lr: "1e-4"}}\n'
        "  evaluation: {suite: [{name: fid}]}\n"
    )
    (tmp_path / "soup.yaml").write_text(soup)

    result = stockpot("lint", "soup.yaml", cwd=tmp_path)
    elsewhere = stockpot("lint", "soup.yaml", "--plugin", "Lora", "--plugin", "fid", cwd=tmp_path)

    assert (result.returncode, elsewhere.returncode) == (ExitCode.INVALID, ExitCode.INVALID)
    sentence = "soup.yaml:7: there is no training method Lora; there is FineTune, LoRA; "
    assert sentence in result.stderr
    assert "soup.yaml:8: AdamW has no option lr; its options are " in result.stderr
    assert "soup.yaml:9: there is no evaluator fid; there is heldout_loss, " in result.stderr
    assert elsewhere.stderr.startswith("error: soup.yaml:8: AdamW has no option lr; ")


def test_lint_loads_a_weighting_as_the_operator_does_and_checks_options_of_plug_ins(
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
    weighting = in_a_new_interpreter("lint", "soup.yaml", cwd=tmp_path)
    (tmp_path / "soup.yaml").write_text((text % "0").replace("name: Mine", "name: Declared"))
    option = in_a_new_interpreter("lint", "soup.yaml", cwd=tmp_path)

    assert weighting.stderr == (
        "error: soup.yaml:6: Mine of the package mine cannot be used: it cannot be made from its "
        "options {}: OSError: no licence\n"
        "  help: mend or remove the package mine (mine:Broken)\n"
    )
    assert option.stderr == "error: soup.yaml:7: Lora's rank is 0; it must be at least 1\n"


def test_lint_prints_notes_and_reads_standard_input(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stockpot.cli", "lint", "-"]
    text = GOOD + "---\napiVersion: v1\nkind: Secret\nmetadata: {name: store}\n"

    result = subprocess.run(command, capture_output=True, text=True, check=False, input=text)

    assert (result.returncode, result.stdout) == (0, "1 file, nothing wrong: 1 DataShard\n")
    assert result.stderr == (
        "note: standard input:6: Secret store is not Stockpot's, and is left aside\n"
        "note: standard input:4: DataShard food names the Soup emoji, which is not in these files; "
        "the shard waits until there is a Soup of that name\n"
    )


def test_an_error_names_what_happened_and_then_the_fix(tmp_path: Path) -> None:
    (tmp_path / "food.yaml").write_text(GOOD.replace("soupRef: {name: emoji}, ", ""))

    result = stockpot("lint", "food.yaml", cwd=tmp_path)

    assert result.stderr == (
        "error: food.yaml:4: spec.soupRef is missing\n"
        "  help: write, for example, soupRef: {name: emoji}\n"
    )


def test_wrong_arguments_exit_with_2() -> None:
    assert stockpot("lint").returncode == ExitCode.USAGE
    assert stockpot("stew").returncode == ExitCode.USAGE


def test_generate_check_names_outdated_files_and_the_fix(tmp_path: Path) -> None:
    result = stockpot("generate", "--check", "--root", tmp_path)

    assert result.returncode == ExitCode.INVALID
    assert "crds/datashards.yaml" in result.stderr
    assert result.stderr.endswith("help: run: make generate\n")


def test_generate_updates_every_file(tmp_path: Path) -> None:
    stockpot("generate", "--root", tmp_path)

    assert stockpot("generate", "--check", "--root", tmp_path).returncode == ExitCode.OK


def test_the_operator_names_the_settings_file_that_is_missing(tmp_path: Path) -> None:
    main = Path(__file__).parents[2] / "operator" / "main.py"
    settings = tmp_path / "settings.yaml"

    result = subprocess.run(
        [sys.executable, main, "run", "--settings", settings],
        capture_output=True,
        text=True,
        check=False,
    )

    record = json.loads(result.stderr)
    assert result.returncode == ExitCode.INVALID
    assert record["message"] == f"{settings} cannot be read: No such file or directory"
    assert "install the chart" in record["help"]
