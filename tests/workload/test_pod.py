"""One process, one verb, as a container of a restricted pod runs it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import urllib3
from tests import tiny
from tests.local.tiny_soup import environment
from tests.serving.server_fixtures import until
from tests.training.runs import Ground, a_training
from tests.workload.pod import UID, confined, require_namespaces

from stockpot.api.results import ResultMessage

ENDLESS = 100_000


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.a_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def ground(tmp_path: Path, base: Path) -> Ground:
    return Ground(tmp_path, base, tiny.some_data(tmp_path / "data", n=6))


def bare_environment(**more: str) -> dict[str, str]:
    """What a container has: no home, no name."""
    variables = environment()
    return {name: variables[name] for name in ("PATH", "PYTHONPATH", "OMP_NUM_THREADS")} | more


def command(spec: Path, work: Path, result: Path, *more: str) -> list[str | Path]:
    arguments = [spec, "--work", work, "--result", result, *more]
    return [sys.executable, "-m", "stockpot.workload", *arguments]


def a_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as held:
        return int(held.getsockname()[1])


def test_a_shard_is_trained_by_a_nameless_user_on_a_read_only_root(ground: Ground) -> None:
    require_namespaces()
    spec, log = ground.folder / "spec.json", ground.folder / "termination-log"
    spec.write_text(ground.spec().model_dump_json())
    log.touch()
    ground.work.mkdir()
    look = f"import os, pwd; assert os.getuid() == {UID}; pwd.getpwuid({UID})"
    writable = (ground.work, ground.store, log)

    who = subprocess.run(
        confined(sys.executable, "-c", look, writable=writable),
        env=bare_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    done = subprocess.run(
        confined(*command(spec, ground.work, log), writable=writable),
        env=bare_environment(HOME="/"),
        capture_output=True,
        text=True,
        check=False,
    )

    assert "KeyError" in who.stderr
    assert done.returncode == 0, done.stderr
    result = ResultMessage.model_validate_json(log.read_bytes())
    assert result.problem is None
    assert ground.weights(result).is_file()


@contextmanager
def running(ground: Ground, spec: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    result = ground.folder / "result.json"
    arguments = command(spec, ground.work, result, "--progress", f"127.0.0.1:{port}")
    with subprocess.Popen(arguments, env=environment()) as process:
        try:
            yield process
        finally:
            process.kill()


def progress_of(port: int) -> dict[str, Any]:
    try:
        answer = urllib3.request("GET", f"http://127.0.0.1:{port}/progress", retries=False)
    except urllib3.exceptions.HTTPError:
        return {"phase": "", "step": 0}
    progress: dict[str, Any] = answer.json()
    return progress


def test_a_signalled_training_saves_what_there_is_and_the_next_goes_on(ground: Ground) -> None:
    port, spec = a_port(), ground.folder / "spec.json"
    long = a_training(max_train_steps=ENDLESS, checkpointing_steps=ENDLESS)
    spec.write_text(ground.spec(training=long).model_dump_json())
    reached: list[int] = []

    def trains(from_step: int) -> bool:
        progress = progress_of(port)
        if progress["phase"] != "training" or progress["step"] < from_step:
            return False
        reached.append(progress["step"])
        return True

    for from_step in (20, 0):
        with running(ground, spec, port) as process:
            until(partial(trains, from_step))
            process.send_signal(signal.SIGTERM)
            code = process.wait(60)

        result = ResultMessage.model_validate_json((ground.folder / "result.json").read_bytes())
        assert code == 75
        assert result.problem is not None
        assert result.problem.exit_code == 75

    saved = sorted(key for key in ground.stored() if key.endswith(".json") and "/step-" in key)
    assert len(saved) == 2
    first = int(saved[0].rpartition("step-")[2].removesuffix(".json"))
    # Begun anew, it would have been seen at its first steps.
    assert 20 <= reached[0] <= first <= reached[1]


def test_a_signal_right_after_the_start_is_heard(ground: Ground) -> None:
    # The first process of a container never gets a signal that it does not handle.
    spec = ground.folder / "spec.json"
    spec.write_text(ground.spec(training=a_training(max_train_steps=ENDLESS)).model_dump_json())
    handled = 1 << (signal.SIGTERM - 1)

    with running(ground, spec, 0) as process:
        status = Path(f"/proc/{process.pid}/status")
        until(lambda: bool(caught(status.read_text()) & handled))
        process.send_signal(signal.SIGTERM)

        assert process.wait(120) == 75


def caught(status: str) -> int:
    """Which signals a process handles, as bits."""
    (line,) = [splitline for splitline in status.splitlines() if splitline.startswith("SigCgt:")]
    return int(line.split()[1], 16)


def test_a_taken_port_for_progress_is_named(ground: Ground) -> None:
    spec, result = ground.folder / "spec.json", ground.folder / "result.json"
    spec.write_text(ground.spec().model_dump_json())
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"

        done = subprocess.run(
            command(spec, ground.work, result, "--progress", taken), check=False, env=environment()
        )

    result_message = ResultMessage.model_validate_json(result.read_bytes())
    assert done.returncode == 6
    assert result_message.problem is not None
    assert taken.rpartition(":")[2] in result_message.problem.message


@pytest.mark.parametrize("text", ["8082", ":8082", "host:", "host:port", "0.0.0.0:70000"])
def test_an_address_that_is_none_is_refused_before_anything_is_done(
    ground: Ground, text: str
) -> None:
    result = ground.folder / "result.json"

    done = subprocess.run(
        command(ground.folder / "spec.json", ground.work, result, "--progress", text),
        check=False,
        env=environment(),
        capture_output=True,
        text=True,
    )

    assert done.returncode == 2
    assert text in done.stderr
    assert not result.exists()
    assert not os.path.exists(ground.work)
