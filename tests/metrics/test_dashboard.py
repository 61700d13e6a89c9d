"""The dashboard's expressions have values in a real Prometheus, over a scripted history."""

import subprocess
import time
from itertools import pairwise
from pathlib import Path

import pytest
from tests.metrics.prometheus import program, prometheus
from tests.metrics.questions import chosen, expressions, has_a_number, panels
from tests.metrics.serving_metrics import serve_meters

from stockpot.api.states import ShardState
from stockpot.errors import Transient
from stockpot.metrics.facts import SoupFacts
from stockpot.metrics.operator import OperatorMetrics
from stockpot.metrics.probes import serve_operator
from stockpot.serving.metrics import ServerMetrics

SOUP = ("studio", "emoji")


def begin(operator: OperatorMetrics, server: ServerMetrics) -> None:
    """The base serves, one shard is trained and another is in training."""
    operator.set_leader(True)
    operator.watch_queue(lambda: 1)
    shards = {ShardState.TRAINED: 1, ShardState.TRAINING: 1}
    operator.observe_round(SOUP, SoupFacts(shards=shards, revision_number=0, servers=1), 0.02)
    operator.observe_progress(SOUP, {"ink": 0.4})
    server.watch({"stockpot_serving_revision_number": ("Its number.", lambda: 1)})
    answer(server, "200", 0.2)


def go_on(operator: OperatorMetrics, server: ServerMetrics) -> None:
    """A revision with both is promoted and evaluated; then one of them is deleted."""
    facts = SoupFacts(
        shards={ShardState.INCLUDED: 1, ShardState.UNLEARNING: 1},
        revision_number=1,
        quality={"emoji-7c1d": {"heldout_loss": 0.528}},
        baseline={"heldout_loss": 0.565},
        unlearning_since_s=(time.time() - 3,),
        receipts=1,
        servers=1,
        ready_servers=1,
    )
    operator.observe_round(SOUP, facts, 0.04)
    operator.observe_failure(Transient("the API server is away"), 0.5)
    for code in ("200", "200", "503"):
        answer(server, code, 0.3)


def answer(server: ServerMetrics, code: str, duration_s: float) -> None:
    server.requests.labels(code).inc()
    server.request_s.observe(duration_s)


@pytest.mark.tools
def test_every_expression_of_the_dashboard_has_a_value(tmp_path: Path) -> None:
    operator, server = OperatorMetrics(version="test"), ServerMetrics()
    begin(operator, server)
    with (
        serve_operator(
            operator, is_live=lambda: True, is_ready=lambda: True, host="127.0.0.1", port=0
        ) as operator_url,
        serve_meters(server) as server_url,
        prometheus(
            tmp_path,
            [
                {
                    "job_name": "operator",
                    "honor_labels": True,  # A soup's namespace, not the operator's.
                    "static_configs": [{"targets": [operator_url.removeprefix("http://")]}],
                },
                {
                    "job_name": "servers",
                    "static_configs": [
                        {
                            "targets": [server_url.removeprefix("http://")],
                            "labels": {"namespace": "studio", "soup": "emoji", "pod": "emoji-0"},
                        }
                    ],
                },
            ],
        ) as watching,
    ):
        watching.await_scrapes(3)
        go_on(operator, server)
        watching.await_scrapes(3)

        answers = {expr: watching.ask(chosen(expr)) for expr in expressions()}

    assert len(answers) > 20
    assert [expr for expr, samples in answers.items() if not has_a_number(samples)] == []


@pytest.mark.tools
@pytest.mark.parametrize("whose", ["operator", "server"])
def test_promtool_accepts_the_metrics(whose: str) -> None:
    operator, server = OperatorMetrics(version="test"), ServerMetrics()
    begin(operator, server)
    go_on(operator, server)
    text = {"operator": operator.text(), "server": server.text()}[whose]

    checked = subprocess.run(
        [program("promtool"), "check", "metrics"], input=text, capture_output=True, check=False
    )

    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


@pytest.mark.tools
def test_a_scrape_before_the_first_soup_is_valid() -> None:
    text = OperatorMetrics(version="test").text()

    checked = subprocess.run(
        [program("promtool"), "check", "metrics"], input=text, capture_output=True, check=False
    )

    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_panels_do_not_overlap() -> None:
    places = sorted(
        (panel["gridPos"]["y"], panel["gridPos"]["x"], panel["gridPos"]["w"]) for panel in panels()
    )

    for (y, x, width), (next_y, next_x, _) in pairwise(places):
        assert next_y > y or next_x >= x + width


def test_every_panel_has_a_description() -> None:
    for panel in panels():
        assert panel["description"].endswith("."), panel["title"]
        assert panel["targets"], panel["title"]
