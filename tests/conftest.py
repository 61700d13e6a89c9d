"""How the tests are dealt out: those that take longest begin first, each on a worker of its own."""

import os

import pytest

LONG = (
    "tests/docs/test_pages_run.py",
    "tests/e2e/",
    "tests/local/test_the_first_soup.py",
    "tests/local/test_bad_input.py",
    "tests/cli/test_verify.py",
    "tests/controlplane/test_leaders.py",
    "tests/controlplane/test_lint_agrees.py",
)
"""Files whose tests wait for processes for half a minute or more."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put one file of long tests at the head of each worker's part.

    xdist deals out equal parts in order, and whoever is done early takes from the end of another's.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers == 1:
        return
    long = [item for item in items if item.nodeid.startswith(LONG)]
    others = [item for item in items if not item.nodeid.startswith(LONG)]
    part = -(-len(items) // workers)
    dealt: list[pytest.Item] = []
    files = {name: [item for item in long if item.nodeid.startswith(name)] for name in LONG}
    for worker in range(workers):
        mine = [item for name in LONG[worker::workers] for item in files[name]]
        short = max(0, part - len(mine))
        dealt += [*mine, *others[:short]]
        others = others[short:]
    items[:] = [*dealt, *others]
