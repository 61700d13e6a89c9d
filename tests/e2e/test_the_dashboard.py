"""Every panel of the dashboard, over a story on a real node that a real Prometheus watches.

Slow, so it runs only when asked for (E2E=long).
"""

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from tests.e2e.studio import NAMESPACE, SYSTEM, WHY_NOT, Studio, ask
from tests.metrics.prometheus import annotated, by_file, prometheus
from tests.metrics.questions import chosen, expressions, has_a_number

from stockpot.api.conditions import ConditionType
from stockpot.cluster.apiserver.resources import PODS

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(os.environ.get("E2E") != "long", reason="not run: `make e2e` runs it"),
    pytest.mark.skipif(bool(WHY_NOT), reason=f"not run: {WHY_NOT}"),
    pytest.mark.timeout(900),
]


@contextmanager
def target_file(studio: Studio, api: str, targets: Path) -> Iterator[None]:
    """Keep the file of targets true while the context lasts."""
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.5):
            pods = [
                pod
                for place in (NAMESPACE, SYSTEM)
                for pod in studio.client.list(PODS, place).items
            ]
            fresh = targets.with_suffix(".part")
            fresh.write_text(json.dumps(annotated(api, pods)))
            fresh.replace(targets)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield
    finally:
        done.set()
        looking.join()


def evaluated(studio: Studio) -> None:
    """Wait until what is served was measured, too."""

    def is_so() -> bool:
        conditions = studio.soup("watched").status.conditions
        return any(
            condition.type == ConditionType.EVALUATED and condition.status == "True"
            for condition in conditions
        )

    studio.until(is_so, "watched is evaluated")


def test_every_panel_has_an_answer_from_pods_that_are_found_by_their_annotations(
    studio: Studio, tmp_path: Path
) -> None:
    config = yaml.safe_load(studio.places.kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    targets = tmp_path / "targets.json"
    job = by_file(targets, user["token"], Path(cluster["certificate-authority"]))
    with (
        target_file(studio, cluster["server"], targets),
        prometheus(tmp_path, [job], interval="1s") as watching,
    ):
        began_s = time.time()
        studio.apply("watched", "one", "two", steps=60, measured=True)
        url = studio.url("watched")
        studio.settled("watched", "one", "two")
        evaluated(studio)
        for seed in range(10):
            assert ask(url, seed).status == 200
        studio.forget("watched", "two")
        studio.settled("watched", "one")
        evaluated(studio)

        def unanswered() -> list[str]:
            return [
                expr
                for expr in expressions()
                if not has_a_number(watching.ask_since(chosen(expr), began_s))
            ]

        def in_flight() -> list[float]:
            query = 'stockpot_deletions_in_flight{soup="watched"}'
            samples = watching.ask_since(query, began_s)
            return [float(count) for sample in samples for _, count in sample["values"]]

        # The last scrape may be older than the end of the deletion.
        scraped_by_s = time.time() + 30
        while (left := unanswered()) or in_flight()[-1]:
            assert time.time() < scraped_by_s, left or in_flight()
            time.sleep(1)
        quality = watching.ask_since('stockpot_revision_quality{soup="watched"}', began_s)
        counted = in_flight()

    assert len({sample["metric"]["revision"] for sample in quality}) >= 2
    assert max(counted) == 1
