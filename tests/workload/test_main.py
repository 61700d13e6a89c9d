"""One process, one verb: whatever happens, a ResultMessage is written and the exit code says it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import urllib3
from tests.local.tiny_soup import environment

from stockpot.api.results import ResultMessage
from stockpot.metrics.endpoint import serve_progress
from stockpot.metrics.progress import Progress


def run(spec: Path, folder: Path) -> tuple[int, ResultMessage, str]:
    result = folder / "result.json"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "stockpot.workload", spec),
            *("--work", folder / "work", "--result", result, "--pid", folder / "pid"),
        ],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    return done.returncode, ResultMessage.model_validate_json(result.read_bytes()), done.stderr


def a_purge(**fields: object) -> dict[str, object]:
    ref = {"namespace": "default", "name": "pets", "uid": "soup-uid"}
    return {
        "verb": "purge",
        "name": "purge-1",
        "soup": ref,
        "shard": {**ref, "name": "cats", "uid": "cats-uid"},
        **fields,
    }


def test_a_run_says_in_a_file_what_came_of_it(tmp_path: Path) -> None:
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(a_purge(store={"url": (tmp_path / "store").as_uri()})))

    code, result, _ = run(spec, tmp_path)

    assert (code, result.problem, result.purged_objects) == (0, None, 0)
    assert int((tmp_path / "pid").read_text()) > 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "no RunSpec of this version"),
        ('{"verb": "fly"}', "'fly'"),
        (json.dumps(a_purge()), "store"),
        (json.dumps(a_purge(store={"url": "file:///x"}, wings=2)), "wings"),
    ],
)
def test_a_spec_of_another_version_is_refused_by_name(
    tmp_path: Path, text: str, words: str
) -> None:
    spec = tmp_path / "spec.json"
    spec.write_text(text)

    code, result, errors = run(spec, tmp_path)

    assert code == 48
    assert result.problem is not None
    assert words in result.problem.message
    assert result.problem.help
    assert words in errors


def test_a_spec_that_is_not_there_is_named(tmp_path: Path) -> None:
    code, result, _ = run(tmp_path / "nothing.json", tmp_path)

    assert code == 48
    assert result.problem is not None
    assert "nothing.json cannot be read" in result.problem.message


def test_a_store_that_cannot_be_written_ends_with_the_code_for_trying_again(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(a_purge(store={"url": (tmp_path / "file").as_uri()})))

    code, result, _ = run(spec, tmp_path)

    assert code == 7
    assert result.problem is not None
    assert "file" in result.problem.message


def test_what_is_refused_at_the_door_waits_for_no_library_of_models() -> None:
    verbs = ", ".join(f"stockpot.{verb}.run" for verb in ("training", "evaluation", "serving"))
    code = f"import sys, {verbs}; print(*sys.modules)"

    loaded = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
    ).stdout.split()

    assert "torch" in loaded
    assert not {"accelerate", "diffusers", "transformers"} & set(loaded)


def test_progress_can_be_asked_for_while_a_run_goes_on() -> None:
    progress = Progress()
    with serve_progress(progress, verb="train") as url:
        progress.begin("training", total_steps=10, first_step=4)
        progress.advance(7, loss=0.25)

        answer = urllib3.request("GET", f"{url}/progress", retries=False).json()
        metrics = urllib3.request("GET", f"{url}/metrics", retries=False).data.decode()
        unknown = urllib3.request("GET", f"{url}/else", retries=False).status

    assert (answer["phase"], answer["step"], answer["total_steps"]) == ("training", 7, 10)
    assert answer["eta_s"] == pytest.approx(answer["elapsed_s"], rel=0.5)
    assert 'stockpot_run_step{phase="training",verb="train"} 7.0' in metrics
    assert 'stockpot_run_figure{figure="loss",verb="train"} 0.25' in metrics
    assert unknown == 404
