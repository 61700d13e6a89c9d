"""Fixtures: one base and store for all serving tests, which add revisions but edit none."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.serving.server_fixtures import RevisionStore, Server, a_revision_store, a_server

from stockpot.api.runspec import RevisionRef


@pytest.fixture(scope="session")
def revisions(tmp_path_factory: pytest.TempPathFactory) -> RevisionStore:
    return a_revision_store(tmp_path_factory.mktemp("revisions"))


@pytest.fixture(scope="session")
def old(revisions: RevisionStore) -> RevisionRef:
    return revisions.publish("old", seed=1)


@pytest.fixture(scope="session")
def new(revisions: RevisionStore) -> RevisionRef:
    return revisions.publish("new", seed=2)


@pytest.fixture
def server(revisions: RevisionStore, tmp_path: Path) -> Iterator[Server]:
    with a_server(revisions, tmp_path / "work") as server:
        yield server


@pytest.fixture(scope="module")
def serving(
    revisions: RevisionStore, old: RevisionRef, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server that serves `old`, for tests that do not change that."""
    with a_server(revisions, tmp_path_factory.mktemp("serving")) as server:
        server.serve(old, epoch=1)
        yield server
