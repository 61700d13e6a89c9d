"""The server of local mode: whose grants it takes, and the time that it gets to end."""

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3
from tests.builders import a_revision
from tests.serving.server_fixtures import RevisionStore, a_revision_store, a_serve_run, until

from stockpot.api.runspec import RUN_SPEC, RunSpec, ServeRun
from stockpot.authentication.key_file import new_grant_key
from stockpot.core.revision import Epoch, Promotion
from stockpot.local.environment import FolderEnvironment, Places
from stockpot.local.layout import Layout
from stockpot.local.processes import GRACE_S, Process
from stockpot.local.servers import ProcessServers
from stockpot.reconcile.run_specs import server_grant
from stockpot.serving.http_server import HANDSHAKES_S, LAST_ANSWERS_S, LINGER_S


class UnstartedProcess(Process):
    """A process that only writes its run spec."""

    def start(self, spec: RunSpec) -> None:
        self.folder.mkdir()
        self.spec.write_text(spec.model_dump_json(by_alias=True))


def test_a_server_has_ended_by_itself_before_it_would_be_killed(tmp_path: Path) -> None:
    process = UnstartedProcess(tmp_path / "server")
    spec = a_serve_run(RevisionStore(tmp_path), leave_s=2, drain_s=3600)

    ProcessServers(process, port=0).scale(1, spec)

    run = RUN_SPEC.validate_json(process.spec.read_bytes())
    assert isinstance(run, ServeRun)
    assert run.finish_s is not None
    last_s = LINGER_S + HANDSHAKES_S + LAST_ANSWERS_S
    assert run.leave_s + run.finish_s + last_s < GRACE_S


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "state")


@pytest.fixture
def servers(layout: Layout, tmp_path: Path) -> Iterator[ProcessServers]:
    """A server in a process of its own, as `stockpot local` starts it."""
    environment = FolderEnvironment(layout, Places())
    spec = a_serve_run(a_revision_store(tmp_path / "store"), grant_keys=environment.grant_keys)
    process = Process(layout.server("ml", "emoji"))
    servers = ProcessServers(process, 0, lambda: environment.grant_signer)
    servers.scale(1, spec)
    try:
        until(lambda: servers.state() is not None)
        yield servers
    finally:
        process.end()


def test_the_folders_key_alone_grants(layout: Layout, servers: ProcessServers) -> None:
    state, endpoint = servers.state(), servers.endpoint
    assert state
    assert endpoint
    promotion = Promotion(a_revision("cats"), Epoch(1), 1)
    forged = server_grant(state.instance_id, Promotion(a_revision("dogs"), Epoch(10**9), 1))
    key = layout.grant_key.read_bytes()

    answer = urllib3.request(
        "POST",
        f"{endpoint.admin_url}/weights:prepare",
        body=forged.model_dump_json(),
        headers={"Content-Type": "application/json"},
    )
    layout.grant_key.write_bytes(new_grant_key())
    servers.prepare("emoji", state.instance_id, promotion)
    (refused,) = servers.ask().servers
    layout.grant_key.write_bytes(key)
    servers.prepare("emoji", state.instance_id, promotion)
    accepted = servers.state()

    assert stat.S_IMODE(layout.grant_key.stat().st_mode) == 0o600
    assert answer.status == 403
    assert "not signed for this server" in refused.problem
    assert refused.granted is None
    assert accepted
    assert accepted.granted
    assert accepted.epoch == 1
