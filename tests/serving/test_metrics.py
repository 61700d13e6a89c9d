"""Metrics have the names, types and labels that their reference page documents."""

import re
from pathlib import Path

import urllib3
from prometheus_client.parser import text_string_to_metric_families
from tests.serving.server_fixtures import RevisionStore, a_server

from stockpot.api.runspec import RevisionRef
from stockpot.metrics.endpoint import serve_progress
from stockpot.metrics.progress import Progress

PAGE = Path(__file__).parents[2] / "docs/reference/workload-metrics.md"
ROW = re.compile(r"^\| `(?P<name>\w+)` \| (?P<kind>\w+) \| (?P<labels>.*?) ?\| ", re.MULTILINE)
UNITS = {"histogram": "_seconds", "counter": "_total"}


def documented(title: str) -> dict[str, tuple[str, set[str]]]:
    (section,) = re.findall(rf"^## {title}$(.*?)(?=^## |\Z)", PAGE.read_text(), re.M | re.S)
    return {
        row["name"]: (row["kind"], set(re.findall(r"\w+", row["labels"])))
        for row in ROW.finditer(section)
    }


def exposed(text: str) -> dict[str, tuple[str, set[str]]]:
    families = {}
    for family in text_string_to_metric_families(text):
        if family.name.startswith("stockpot_") and not family.name.endswith("_created"):
            name = family.name + ("_total" if family.type == "counter" else "")
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            assert family.documentation.endswith(".") or family.type == "gauge"
            assert name.endswith(UNITS.get(family.type, "")), name
            families[name] = (family.type, labels)
    return families


def test_a_server_measures_what_its_page_says(
    revisions: RevisionStore, old: RevisionRef, tmp_path: Path
) -> None:
    with a_server(revisions, tmp_path) as server:
        idle = server.admin("/metrics").body.decode()
        server.serve(old, epoch=7)
        assert server.draw().status == 200
        text = server.admin("/metrics").body.decode()

    assert exposed(text) == documented("Servers")
    assert "stockpot_serving_revision_number -1.0" in idle
    assert "stockpot_serving_revision_number 7.0" in text
    assert "stockpot_serving_epoch 7.0" in text
    assert 'stockpot_serving_requests_total{code="200"} 1.0' in text
    assert "stockpot_serving_images_total 1.0" in text
    assert "process_resident_memory_bytes" in text


def test_a_run_measures_what_its_page_says() -> None:
    progress = Progress()
    with serve_progress(progress, verb="train", host="0.0.0.0") as url:
        progress.begin("training", total_steps=10)
        progress.advance(7, loss=0.25)
        text = urllib3.request("GET", f"{url}/metrics", retries=False).data.decode()

    assert exposed(text) == documented("Runs")
    assert "process_resident_memory_bytes" in text
