"""One base and store for all tests of serving: they are only read, or extended under new names."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.serving.server_fixtures import Pantry, Server, a_pantry, a_server

from stockpot.api.runspec import RevisionRef


@pytest.fixture(scope="session")
def pantry(tmp_path_factory: pytest.TempPathFactory) -> Pantry:
    return a_pantry(tmp_path_factory.mktemp("pantry"))


@pytest.fixture(scope="session")
def old(pantry: Pantry) -> RevisionRef:
    return pantry.publish("old", seed=1)


@pytest.fixture(scope="session")
def new(pantry: Pantry) -> RevisionRef:
    return pantry.publish("new", seed=2)


@pytest.fixture
def server(pantry: Pantry, tmp_path: Path) -> Iterator[Server]:
    with a_server(pantry, tmp_path / "work") as server:
        yield server


@pytest.fixture(scope="module")
def serving(
    pantry: Pantry, old: RevisionRef, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server that serves `old`, for tests that leave it so."""
    with a_server(pantry, tmp_path_factory.mktemp("serving")) as server:
        server.serve(old, epoch=1)
        yield server
