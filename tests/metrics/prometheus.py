"""A real Prometheus that scrapes what a test serves, or what runs on a cluster."""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from devcluster.api import wait_until
from devcluster.controlplane import free_ports
from devcluster.places import cache
from devcluster.problem import Problem

Sample = dict[str, Any]


def program(name: str) -> Path:
    """Find prometheus or promtool on the PATH, or where `make prometheus` installed it."""
    path = shutil.which(name) or shutil.which(name, path=cache() / "prometheus/usr/bin")
    if path is None:
        raise Problem(f"{name} is not there", help="make prometheus")
    return Path(path)


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus."""

    url: str
    targets: int

    def ask(self, expr: str) -> list[Sample]:
        """Evaluate an expression now."""
        query = urllib.parse.urlencode({"query": expr})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{query}") as answer:
            samples = json.load(answer)["data"]["result"]
        assert isinstance(samples, list)
        return samples

    def ask_since(self, expr: str, began_s: float, step_s: float = 1.0) -> list[Sample]:
        """Evaluate an expression over the time since then; each series has its `values`."""
        parameters = {"query": expr, "start": began_s, "end": time.time(), "step": step_s}
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/query_range?{query}") as answer:
            samples = json.load(answer)["data"]["result"]
        assert isinstance(samples, list)
        return samples

    def await_scrapes(self, count: int) -> None:
        """Wait until every target was scraped `count` more times."""

        def scrapes() -> list[float]:
            return [float(sample["value"][1]) for sample in self.ask("sum_over_time(up[10m])")]

        before = min(scrapes(), default=0) if len(scrapes()) == self.targets else 0

        def enough() -> bool:
            now = scrapes()
            return len(now) == self.targets and min(now) >= before + count

        wait_until(enough, f"{count} more scrapes of each target", within_s=60)


def by_file(targets: Path, token: str, ca: Path) -> dict[str, Any]:
    """Return a configuration that scrapes the pods of a file (file_sd) through their API server."""
    return {
        "job_name": "pods",
        "honor_labels": True,
        "scheme": "https",
        "authorization": {"credentials": token},
        "tls_config": {"ca_file": str(ca)},
        "file_sd_configs": [{"files": [str(targets)]}],
    }


def annotated(api: str, pods: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the targets among pods: those that run and have the scrape annotations.

    Prometheus' charts configure its Kubernetes discovery so, which Debian's package lacks.
    """
    targets = []
    for pod in pods:
        metadata, notes = pod["metadata"], pod["metadata"].get("annotations", {})
        is_running = pod["status"].get("phase") == "Running"
        if notes.get("prometheus.io/scrape") != "true" or not is_running:
            continue
        where = f"{metadata['namespace']}/pods/{metadata['name']}:{notes['prometheus.io/port']}"
        labels = {
            "__metrics_path__": f"/api/v1/namespaces/{where}/proxy{notes['prometheus.io/path']}",
            "namespace": metadata["namespace"],
            "pod": metadata["name"],
            "instance": metadata["name"],
            "soup": metadata.get("labels", {}).get("stockpot.dev/soup", ""),
        }
        targets.append({"targets": [api.removeprefix("https://")], "labels": labels})
    return targets


@contextmanager
def prometheus(
    folder: Path, jobs: Sequence[Mapping[str, Any]], *, interval: str = "200ms"
) -> Iterator[Prometheus]:
    """Run one for as long as the context lasts.

    Args:
        folder: Gets its configuration, data and log.
        jobs: Scrape configurations, each of one target.
        interval: How often each is scraped.
    """
    config, log = folder / "prometheus.yml", folder / "prometheus.log"
    often = {"scrape_interval": interval, "scrape_timeout": interval}
    config.write_text(yaml.safe_dump({"global": often, "scrape_configs": [*jobs]}))
    command = [program("promtool"), "check", "config", config]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [
                *(program("prometheus"), f"--config.file={config}"),
                f"--storage.tsdb.path={folder / 'prometheus'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(
            lambda: is_ready(f"{url}/-/ready"),
            "Prometheus is ready",
            within_s=60,
            alive=lambda: still_there(process, log),
        )
        yield Prometheus(url, len(jobs))
    finally:
        process.terminate()
        process.wait()


def is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except OSError:
        return False


def still_there(process: subprocess.Popen[bytes], log: Path) -> None:
    if process.poll() is not None:
        raise Problem(f"prometheus ended with {process.returncode}", help=log.read_text()[-2000:])
