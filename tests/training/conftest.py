"""Fixtures of the training tests: a tiny base, its data, and one CPU thread."""

from pathlib import Path

import pytest
import torch
from tests.tiny import a_base, some_data


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    # Several threads wait for each other on a busy machine, and bytes depend on how many there are.
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_base(tmp_path_factory.mktemp("tiny") / "base")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return some_data(tmp_path_factory.mktemp("tiny") / "data")
