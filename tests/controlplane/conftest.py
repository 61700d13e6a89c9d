"""One API server for all tests here; each has namespaces, a node and operators of its own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from devcluster.controlplane import ControlPlane
from tests.controlplane.admin import Admin, Mirror
from tests.controlplane.testbed import TestCluster

from stockpot.api.crd import crd_files

Figure = Callable[[str, object], None]


@contextmanager
def an_api_server(folder: Path, audit: tuple[Path, Path] | None = None) -> Iterator[ControlPlane]:
    """Run one with our CRDs, written into the folder, for as long as the context lasts.

    Args:
        folder: Where the CRDs are written.
        audit: An audit policy, and the log that requests are written to.
    """
    folder.mkdir(exist_ok=True)
    for name, text in crd_files().items():
        (folder / name).write_text(text)
    with ControlPlane(crds=folder, scheduler=True, audit=audit) as plane:
        yield plane


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with an_api_server(tmp_path_factory.mktemp("crds")) as plane:
        yield plane


@pytest.fixture(scope="session")
def admin(cluster: ControlPlane) -> Admin:
    return Admin(cluster)


@pytest.fixture(scope="session")
def mirror(admin: Admin) -> Iterator[Mirror]:
    mirror = Mirror(admin)
    yield mirror
    mirror.stop()


@pytest.fixture
def test_cluster(admin: Admin, mirror: Mirror, tmp_path: Path) -> Iterator[TestCluster]:
    cluster = TestCluster(admin, mirror, tmp_path)
    cluster.build()
    yield cluster
    cluster.tear_down()


@pytest.fixture
def empty_cluster(admin: Admin, mirror: Mirror, tmp_path: Path) -> Iterator[TestCluster]:
    """A node, and a release namespace with nothing in it yet."""
    cluster = TestCluster(admin, mirror, tmp_path)
    cluster.make_namespace(cluster.release)
    cluster.start_node()
    yield cluster
    cluster.tear_down()


@pytest.fixture
def figure(record_property: Figure) -> Figure:
    """Note what was measured: it is printed at the end."""
    return record_property


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, value in report.user_properties:
            text = f"{value:.2f}" if isinstance(value, float) else value
            terminalreporter.write_line(f"{name}: {text}  ({report.nodeid.rpartition('::')[2]})")
