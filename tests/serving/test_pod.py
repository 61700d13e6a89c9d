"""A server as in a container: a process that listens on all addresses and ends by a signal."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.local.tiny_soup import environment
from tests.serving.server_fixtures import Answer, RevisionStore, Server, a_serve_run, until

from stockpot.api.runspec import RevisionRef


@contextmanager
def a_process(
    revisions: RevisionStore, folder: Path
) -> Iterator[tuple[subprocess.Popen[str], Server]]:
    spec, work = folder / "spec.json", folder / "work"
    spec.write_text(a_serve_run(revisions, host="0.0.0.0", drain_s=120).model_dump_json())
    command = [sys.executable, "-m", "stockpot.workload", spec, "--work", work]
    with subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            until(lambda: (work / "endpoint.json").exists() or process.poll() is not None)
            endpoint = json.loads((work / "endpoint.json").read_text())
            stop = threading.Event()
            yield (
                process,
                Server(endpoint["url"], endpoint["adminUrl"], endpoint["boot"], work, stop),
            )
        finally:
            process.kill()


def test_a_signalled_server_answers_all_that_came_in_and_nothing_more(
    revisions: RevisionStore, old: RevisionRef, tmp_path: Path
) -> None:
    answers: list[Answer] = []
    with a_process(revisions, tmp_path) as (process, server):
        server.serve(old, epoch=1)
        clients = [
            threading.Thread(target=lambda: answers.append(server.draw(num_inference_steps=40)))
            for _ in range(4)
        ]
        for client in clients:
            client.start()
        until(lambda: b"stockpot_serving_queue_depth 3.0" in server.admin("/metrics").body)

        process.send_signal(signal.SIGTERM)
        code = process.wait(120)

        for client in clients:
            client.join()
        with pytest.raises(Exception, match="refused"):
            server.get("/v2/health/live")
    assert [answer.status for answer in answers] == [200] * 4
    assert code == 0
