"""A server's start and shutdown."""

import json
import os
import socket
import threading
from pathlib import Path

import pytest
from tests.serving.server_fixtures import Answer, RevisionStore, a_serve_run, a_server, until

from stockpot.api.runspec import RevisionRef
from stockpot.errors import ExitCode, Refused
from stockpot.metrics.progress import Progress
from stockpot.serving.run import run


def test_the_endpoint_file_exists_while_the_server_answers(
    revisions: RevisionStore, tmp_path: Path
) -> None:
    with a_server(revisions, tmp_path) as server:
        endpoint = json.loads((tmp_path / "endpoint.json").read_text())
        assert endpoint == {
            "url": server.url,
            "adminUrl": server.admin_url,
            "boot": server.state().instance_id,
            "pid": os.getpid(),
        }
        assert server.admin("/livez").status == 200
        assert server.admin("/readyz").status == 503

    assert not (tmp_path / "endpoint.json").exists()
    (result,) = server.results
    assert result.images == 0


def test_each_process_has_another_instance_id(revisions: RevisionStore, tmp_path: Path) -> None:
    with a_server(revisions, tmp_path / "a") as first, a_server(revisions, tmp_path / "b") as other:
        assert first.instance_id != other.instance_id


@pytest.mark.parametrize("field", ["port", "admin_port"])
def test_a_taken_port_is_refused_by_name(
    revisions: RevisionStore, tmp_path: Path, field: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        spec = a_serve_run(revisions, **{field: port})

        with pytest.raises(Refused, match=f"Port {port}") as refused:
            run(spec, work=tmp_path, progress=Progress(), stop=threading.Event())

    assert refused.value.exit_code == ExitCode.PORT_TAKEN
    assert str(port) in refused.value.help
    assert not (tmp_path / "endpoint.json").exists()


def test_another_base_than_was_named_is_refused(revisions: RevisionStore, tmp_path: Path) -> None:
    base = revisions.base_ref.model_copy(update={"digest": "sha256:" + "0" * 64})

    with pytest.raises(Refused) as refused:
        run(
            a_serve_run(revisions, base=base),
            work=tmp_path,
            progress=Progress(),
            stop=threading.Event(),
        )

    assert refused.value.exit_code == ExitCode.WRONG_DIGEST


def test_what_a_killed_server_had_fetched_is_removed(
    revisions: RevisionStore, tmp_path: Path
) -> None:
    left = tmp_path / "fetched" / "1" / "diffusion_pytorch_model.safetensors"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"weights that nobody would report")

    with a_server(revisions, tmp_path):
        assert not left.exists()


@pytest.mark.parametrize(("drain_s", "status"), [(240, 200), (0, 503)])
def test_a_running_request_is_finished_at_the_end_for_as_long_as_is_allowed(
    revisions: RevisionStore, old: RevisionRef, tmp_path: Path, drain_s: int, status: int
) -> None:
    answers: list[Answer] = []
    with a_server(revisions, tmp_path, drain_s=drain_s) as server:
        server.serve(old, epoch=1)
        client = threading.Thread(
            target=lambda: answers.append(server.draw(num_inference_steps=30))
        )
        client.start()
        until(lambda: b"stockpot_serving_busy 1.0" in server.admin("/metrics").body)
    client.join()

    assert answers[0].status == status


def test_liveness_does_not_wait_for_a_picture(
    revisions: RevisionStore, old: RevisionRef, tmp_path: Path
) -> None:
    with a_server(revisions, tmp_path, drain_s=0) as server:
        server.serve(old, epoch=1)
        answers: list[Answer] = []
        client = threading.Thread(
            target=lambda: answers.append(server.draw(n=8, num_inference_steps=100))
        )
        client.start()
        until(lambda: b"stockpot_serving_busy 1.0" in server.admin("/metrics").body)

        assert server.admin("/livez").status == 200
        assert server.get("/v2/health/live").status == 200
        assert answers == []
    client.join()
