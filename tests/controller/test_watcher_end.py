"""One stream that can go on no more ends them all, at once: else nobody would begin them anew."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from stockpot.cluster.apiserver.resources import NAMESPACES, PODS, Resource
from stockpot.controller.watcher import WATCHED, Watcher
from stockpot.kube.cache import Cache

SOON_S = 8.0
"""kopf alone takes minutes, or for ever."""


class ApiServer(ThreadingHTTPServer):
    """Lists nothing, and has its watches wait; until those of pods are told that they are gone."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.watched = {resource.plural: threading.Event() for resource in WATCHED}
        self.gone, self.over = threading.Event(), threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that hang up."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ApiServer

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        parts = url.path.strip("/").split("/")
        if "namespaces" not in parts:
            self.say(200, discovered(parts))
        elif "watch" not in parse_qs(url.query):
            about = {"resourceVersion": "7"}
            self.say(200, {"kind": "List", "apiVersion": "v1", "metadata": about, "items": []})
        else:
            self.watch(parts[-1])

    def watch(self, plural: str) -> None:
        self.server.watched[plural].set()
        if plural == PODS.plural:
            self.server.gone.wait()
            self.say(410, {"kind": "Status", "code": 410, "reason": "Expired", "message": "old"})
        else:
            # No word of an answer: whoever asked has asked, and waits.
            self.server.over.wait()
            self.close_connection = True

    def say(self, status: int, what: Any) -> None:
        body = json.dumps(what).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing of each request."""


def discovered(parts: list[str]) -> Any:
    """What there is in the API: groups, versions, or the resources of one."""
    groups = {kind.group for kind in WATCHED if kind.group}
    match parts:
        case ["api"]:
            return {"versions": ["v1"]}
        case ["apis"]:
            return {"groups": [group(name) for name in sorted(groups)]}
        case ["apis", name]:
            return group(name)
        case ["api", version]:
            kinds = [
                NAMESPACES,
                *(kind for kind in WATCHED if (kind.group, kind.version) == ("", version)),
            ]
        case ["apis", name, version]:
            kinds = [kind for kind in WATCHED if (kind.group, kind.version) == (name, version)]
    return {"resources": [resource(kind) for kind in kinds]}


def group(name: str) -> Any:
    version = next(kind.version for kind in WATCHED if kind.group == name)
    kind = {"groupVersion": f"{name}/{version}", "version": version}
    return {"name": name, "versions": [kind], "preferredVersion": kind}


def resource(kind: Resource) -> Any:
    verbs = ["list", "watch", "patch", "get"]
    names = {"name": kind.plural, "singularName": "", "kind": kind.kind}
    return {**names, "namespaced": True, "verbs": verbs}


@pytest.fixture
def api_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ApiServer]:
    server = ApiServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "it", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
        ],
        "users": [{"name": "it", "user": {"token": "none"}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "current-context": "it",
    }
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    # The package has read the environment when it was imported.
    where = "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION"
    monkeypatch.setattr(where, str(tmp_path / "config"))
    yield server
    server.gone.set()
    server.over.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def watcher(api_server: ApiServer) -> Iterator[Watcher]:
    """Streams, each of which waits for a word."""
    kind = Watcher(Cache(), lambda *_: None, lambda _: None, "studio")
    kind.start()
    try:
        for plural, started in api_server.watched.items():
            assert started.wait(SOON_S), f"nobody watches {plural}"
        yield kind
    finally:
        kind.stop()


def test_a_watch_that_is_refused_for_good_ends_all_of_them_at_once(
    api_server: ApiServer, watcher: Watcher
) -> None:
    api_server.gone.set()
    watcher._thread.join(SOON_S)

    assert not watcher.is_alive


def test_streams_that_are_stopped_end_at_once(watcher: Watcher) -> None:
    watcher.stop()

    assert not watcher.is_alive
