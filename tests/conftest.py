"""Mark each test with what it needs, and start the longest tests first."""

import importlib.util
import os
from pathlib import Path

import pytest
from tests import markers

LONG = (
    "tests/docs/test_pages_run.py",
    "tests/e2e/",
    "tests/local/test_the_first_soup.py",
    "tests/local/test_bad_input.py",
    "tests/local/test_plugins.py",
    "tests/cli/test_verify.py",
    "tests/controlplane/test_debts.py",
    "tests/controlplane/test_dropped_namespaces.py",
    "tests/controlplane/test_leaders.py",
    "tests/controlplane/test_lint_agrees.py",
)
"""Files whose tests wait for processes for half a minute or more."""

WITHOUT_TORCH = importlib.util.find_spec("torch") is None


def pytest_configure(config: pytest.Config) -> None:
    for name, meaning in markers.MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out files that cannot be imported in the environment of `make unit`."""
    if not WITHOUT_TORCH or markers.ROOT not in collection_path.parents:
        return None
    if collection_path.is_dir():
        path = collection_path / "conftest.py"
        return (path.is_file() and markers.needs_torch(path)) or None
    return (collection_path.suffix == ".py" and markers.needs_torch(collection_path)) or None


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark a test with what its file imports and its fixtures start."""
    if markers.needs_torch(item.path):
        item.add_marker("torch")
    fixtures = set(getattr(item, "fixturenames", ()))
    for name, starters in markers.FIXTURES.items():
        if fixtures & starters:
            item.add_marker(name)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put one file of long tests at the head of each worker's share.

    xdist gives each worker an equal share in order; a worker that is done takes from another's end.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers == 1:
        return
    long = [item for item in items if item.nodeid.startswith(LONG)]
    others = [item for item in items if not item.nodeid.startswith(LONG)]
    share = -(-len(items) // workers)
    ordered: list[pytest.Item] = []
    files = {name: [item for item in long if item.nodeid.startswith(name)] for name in LONG}
    for worker in range(workers):
        first = [item for name in LONG[worker::workers] for item in files[name]]
        short = max(0, share - len(first))
        ordered += [*first, *others[:short]]
        others = others[short:]
    items[:] = [*ordered, *others]
