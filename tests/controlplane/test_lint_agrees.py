"""Lint refuses what the API server refuses and takes what it takes, but for a few, each named."""

import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from devcluster import build
from devcluster.controlplane import ControlPlane
from tests import manifest_corpus as corpus

from stockpot.api.options import Installed
from stockpot.api.reading import read_paths

AT_ONCE = 4
"""kubectl starts, asks and ends in a tenth of a second, most of which is waiting."""


@pytest.fixture(scope="module")
def takes(cluster: ControlPlane) -> Callable[[Path], str]:
    """Ask the API server, through kubectl, and write nothing: empty where it takes the file."""
    kubectl = build.built(build.control_plane()) / "kubectl"

    def takes(path: Path) -> str:
        command = ("apply", "--dry-run=server", "--validate=strict", "-n", "default", "-f", path)
        completed = subprocess.run(
            [kubectl, "--kubeconfig", cluster.kubeconfig, *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        return "" if completed.returncode == 0 else (completed.stdout + completed.stderr).strip()

    return takes


def lint_says(path: Path) -> str:
    return "; ".join(map(str, read_paths([path], Installed()).complaints))


def judged(
    texts: Mapping[str, str | bytes], folder: Path, takes: Callable[[Path], str]
) -> dict[str, tuple[str, str]]:
    """What lint says of each, and what the API server does; empty where it is taken."""

    def judge(item: tuple[int, tuple[str, str | bytes]]) -> tuple[str, tuple[str, str]]:
        number, (name, text) = item
        path = folder / f"{number:04}.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return name, (lint_says(path), takes(path))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(pool.map(judge, enumerate(texts.items())))


def test_lint_and_the_api_server_judge_alike(takes: Callable[[Path], str], tmp_path: Path) -> None:
    texts = dict(corpus.agreed())

    verdicts = judged(texts, tmp_path, takes)

    assert len(texts) > 250
    assert {
        name: verdict for name, verdict in verdicts.items() if bool(verdict[0]) != bool(verdict[1])
    } == {}
    refused = sum(1 for lint, _ in verdicts.values() if lint)
    assert 60 < refused < len(texts) - 60, "both have something to refuse, and to take"


def test_lint_alone_refuses_what_would_be_lost_without_a_word(
    takes: Callable[[Path], str], tmp_path: Path
) -> None:
    texts = {name: text for name, (text, _) in corpus.LINT_ALONE.items()}

    verdicts = judged(texts, tmp_path, takes)

    assert {name: verdict for name, verdict in verdicts.items() if not verdict[0]} == {}
    assert {name: verdict for name, verdict in verdicts.items() if verdict[1]} == {}
