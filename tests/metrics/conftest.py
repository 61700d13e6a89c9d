"""A real Prometheus that scrapes what a test serves."""

import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from devcluster.api import wait_until
from devcluster.controlplane import free_ports
from devcluster.places import cache
from devcluster.problem import Problem

Sample = dict[str, Any]


def program(name: str) -> Path:
    """Where prometheus or promtool is: on the PATH, or where `make prometheus` put it."""
    found = shutil.which(name) or shutil.which(name, path=cache() / "prometheus/usr/bin")
    if found is None:
        raise Problem(f"{name} is not there", help="make prometheus")
    return Path(found)


@dataclass(frozen=True)
class Prometheus:
    """One that runs."""

    url: str
    targets: int

    def ask(self, expr: str) -> list[Sample]:
        """What an expression comes to now."""
        asked = urllib.parse.urlencode({"query": expr})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{asked}") as answer:
            found = json.load(answer)["data"]["result"]
        assert isinstance(found, list)
        return found

    def await_scrapes(self, count: int) -> None:
        """Wait until every target was scraped so many times more."""

        def scrapes() -> list[float]:
            return [float(one["value"][1]) for one in self.ask("sum_over_time(up[10m])")]

        before = min(scrapes(), default=0) if len(scrapes()) == self.targets else 0

        def enough() -> bool:
            now = scrapes()
            return len(now) == self.targets and min(now) >= before + count

        wait_until(enough, f"{count} more scrapes of each target", within_s=60)


Run = Callable[[list[Mapping[str, Any]]], Any]


@pytest.fixture
def prometheus(tmp_path: Path) -> Run:
    """Run one with the scrape configurations that a test gives, for as long as a context."""

    @contextmanager
    def run(jobs: list[Mapping[str, Any]]) -> Iterator[Prometheus]:
        config = tmp_path / "prometheus.yml"
        often = {"scrape_interval": "200ms", "scrape_timeout": "200ms"}
        config.write_text(yaml.safe_dump({"global": often, "scrape_configs": [*jobs]}))
        checked = subprocess.run(
            [program("promtool"), "check", "config", config],
            capture_output=True,
            text=True,
            check=False,
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr
        (port,) = free_ports(1)
        command = [
            *(program("prometheus"), f"--config.file={config}"),
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        log = tmp_path / "prometheus.log"
        with log.open("wb") as out:
            process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        try:
            url = f"http://127.0.0.1:{port}"
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

    return run


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
