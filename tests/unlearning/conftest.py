"""Fixtures: a soup's history, in a folder and in a versioned S3 bucket, and a filled store."""

from pathlib import Path
from uuid import uuid4

import pytest
import torch
from tests.contract.conftest import Server, s3_server
from tests.unlearning.history import History, a_history
from tests.unlearning.receipt_fixtures import a_filled_store

from stockpot.api.runspec import StoreRef
from stockpot.store.folder import FolderStore
from stockpot.unlearning.keys import keygen

__all__ = ["s3_server"]


@pytest.fixture(scope="session")
def shared_history(tmp_path_factory: pytest.TempPathFactory) -> History:
    """The history as the verbs wrote it into a folder. Tests must not edit it."""
    torch.set_num_threads(1)
    below = tmp_path_factory.mktemp("history")
    (below / "store").mkdir()
    return a_history(StoreRef(url=(below / "store").as_uri()), below)


@pytest.fixture(scope="session")
def bucket(s3_server: Server) -> StoreRef:
    """A bucket that keeps every version."""
    name = s3_server.a_bucket(versioned=True)
    return StoreRef(url=f"s3://{name}", endpoint=s3_server.endpoint)


@pytest.fixture(params=["folder", "s3"])
def history(request: pytest.FixtureRequest, shared_history: History, tmp_path: Path) -> History:
    """A copy to edit."""
    if request.param == "folder":
        return in_a_folder(shared_history, tmp_path)
    place: StoreRef = request.getfixturevalue("bucket")
    return shared_history.copied_to(place.model_copy(update={"url": f"{place.url}/{uuid4().hex}"}))


@pytest.fixture
def in_folder(shared_history: History, tmp_path: Path) -> History:
    """A copy in a folder, for tests that do not depend on the kind of store."""
    return in_a_folder(shared_history, tmp_path)


def in_a_folder(shared_history: History, tmp_path: Path) -> History:
    root = tmp_path / "copied"
    root.mkdir()
    return shared_history.copied_to(StoreRef(url=root.as_uri()))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    a_filled_store(tmp_path / "store", tmp_path / "work")
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> FolderStore:
    return FolderStore(root)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    keygen(tmp_path / "key.pem")
    return tmp_path / "key.pem"
