"""The time that a server of local mode gets to end."""

from pathlib import Path

from tests.serving.server_fixtures import RevisionStore, a_serve_run

from stockpot.api.runspec import RUN_SPEC, RunSpec, ServeRun
from stockpot.local.processes import GRACE_S, Process
from stockpot.local.servers import ProcessServers
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
