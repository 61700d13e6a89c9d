"""The node that the long stories share."""

import os
from collections.abc import Iterator

import pytest
from tests.e2e.studio import Studio


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A node with Stockpot in it; every test has a soup of its own there."""
    node = Studio(f"long-{os.getpid()}", tmp_path_factory.mktemp("long") / "tiny")
    try:
        node.up()
        yield node
    finally:
        node.down()
