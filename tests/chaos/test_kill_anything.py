"""Any process dies at any moment, and applying again ends in the same bytes. `make chaos`.

Each run is the story with tiny models: two shards are learnt, one is forgotten. At a random moment
of a random command a random process of it gets SIGKILL: the command itself, a training, a merge,
the server, a purge, a signing. Then the command is given again until it ends well.

Invariant 8.
"""

import os
import random
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.local.tiny_soup import Table, environment, kill, lay, processes

RUNS = int(os.environ.get("CHAOS_RUNS", "30"))
SEED = int(os.environ.get("CHAOS_SEED", "0"))
MOST_TRIES = 6

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> Table:
    return lay(tmp_path_factory.mktemp("chaos"), "cats", "dogs")


Story = tuple[str, str]


@pytest.fixture(scope="module")
def undisturbed(laid: Table) -> tuple[Story, list[float]]:
    """What the story comes to when nobody dies, and how long each command takes, in seconds."""
    table = laid.beside("undisturbed")
    table.keygen()
    took, weights = [], []
    for command in commands(table):
        began_s = time.monotonic()
        done = subprocess.run(command, env=environment(), capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        took.append(time.monotonic() - began_s)
        weights.append(table.weights())
    table.down()
    return (weights[0], weights[1]), took


def commands(table: Table) -> list[list[str]]:
    files = [
        one for name in ("soup", "cats", "dogs") for one in ("-f", table.root / f"{name}.yaml")
    ]
    claim = ("--claim", f"here={table.root}", "--port", "0")
    return [
        table.command("local", "apply", *files, *claim, "--dir", table.state),
        table.command("local", "delete", "shard/dogs", "--dir", table.state),
    ]


@pytest.mark.parametrize("number", range(RUNS))
def test_a_process_killed_at_any_moment_changes_nothing_of_the_end(
    laid: Table, undisturbed: tuple[Story, list[float]], number: int
) -> None:
    expected, took = undisturbed
    dice = random.Random(f"{SEED}/{number}")
    table = laid.beside(f"run-{number}")
    table.keygen()
    weights = []
    try:
        for command, usual_s in zip(commands(table), took, strict=True):
            disturb(table, command, usual_s, dice)
            again(table, command)
            weights.append(table.weights())
        assert (weights[0], weights[1]) == expected
        assert [receipt.spec.shard.name for receipt in table.receipts()] == ["dogs"]
        assert set(table.shards()) == {"cats"}
        assert not list((table.state / "store").rglob("*.unfinished"))
    finally:
        table.down()
        shutil.rmtree(table.state, ignore_errors=True)


def disturb(table: Table, command: Sequence[str], usual_s: float, dice: random.Random) -> None:
    """Give a command, and kill something of it at a random moment."""
    child = subprocess.Popen(
        command,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        child.wait(timeout=dice.uniform(0, usual_s))
    except subprocess.TimeoutExpired:
        victims = [child.pid, *processes(table)]
        kill(dice.choice(victims))
    child.wait(timeout=300)


def again(table: Table, command: Sequence[str]) -> None:
    """Apply until it ends well; a deletion that was not written down is asked for once more."""
    for _ in range(MOST_TRIES):
        if "delete" in command and "dogs" in table.shards():
            given: Sequence[str] = command
        elif "apply" in command:
            given = command
        else:
            given = table.command("local", "apply", "--dir", table.state)
        done = subprocess.run(given, env=environment(), capture_output=True, check=False)
        if done.returncode == 0:
            return
    said = done.stderr.decode()
    raise AssertionError(f"after {MOST_TRIES} tries: {said}\n{logs(table.state)}")


def logs(state: Path) -> str:
    """What processes of it printed last."""
    return "\n".join(
        f"{path}: {path.read_text()[-500:]}" for path in sorted(state.rglob("log.txt"))
    )
