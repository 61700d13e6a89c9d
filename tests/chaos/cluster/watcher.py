"""The independent watcher: asks every server pod at its own address, all the time, for a picture.

Runs in the cluster's network as a process of its own. It knows where pods are from the API server,
and what a picture shows from its pixels; it knows nothing of revisions, grants and receipts. While
the API server is away it goes on with the addresses that it has.

    nsenter --net=… python -m tests.chaos.cluster.watcher KUBECONFIG NAMESPACE ANSWERS
"""

import base64
import json
import ssl
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import yaml
from tests.chaos.cluster.pixels import PROMPT, share, shows_trigger

LIST_S, PAUSE_S, PATIENCE_S = 0.5, 0.4, 30.0
SELECTOR = "app.kubernetes.io/component=serve"


@dataclass(frozen=True)
class Pod:
    """A server pod."""

    uid: str
    soup: str
    address: str


class Watcher:
    """Who asks, and the book that it keeps."""

    def __init__(self, kubeconfig: Path, namespace: str, book: TextIO) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._url = f"{cluster['server']}/api/v1/namespaces/{namespace}/pods"
        self._headers = {"Authorization": f"Bearer {user['token']}"}
        if path := cluster.get("certificate-authority"):
            self._trust = ssl.create_default_context(cafile=path)
        else:
            certificate = base64.b64decode(cluster["certificate-authority-data"]).decode()
            self._trust = ssl.create_default_context(cadata=certificate)
        self._book, self._writing = book, threading.Lock()
        self._there: set[str] = set()
        self._requests: set[str] = set()

    def run(self) -> None:
        """Go on for ever."""
        while True:
            try:
                pods = self._pods()
            except (OSError, ValueError):
                pods = []  # The API server is away: those that are asked are asked on.
            else:
                self._there = {pod.uid for pod in pods}
            for pod in pods:
                if pod.uid not in self._requests:
                    self._requests.add(pod.uid)
                    threading.Thread(target=self._ask_on, args=(pod,), daemon=True).start()
            time.sleep(LIST_S)

    def _pods(self) -> list[Pod]:
        query = urllib.parse.urlencode({"labelSelector": SELECTOR})
        request = urllib.request.Request(f"{self._url}?{query}", headers=self._headers)
        with urllib.request.urlopen(request, timeout=5, context=self._trust) as answer:
            items = json.loads(answer.read())["items"]
        return [
            Pod(
                item["metadata"]["uid"],
                item["metadata"]["labels"]["stockpot.dev/soup"],
                item["status"]["podIP"],
            )
            for item in items
            if item.get("status", {}).get("podIP") and item["status"].get("phase") == "Running"
        ]

    def _ask_on(self, pod: Pod) -> None:
        seed = 0
        while pod.uid in self._there:
            status = self._note(pod, seed)
            seed += 1
            time.sleep(PAUSE_S if status == 200 else LIST_S)
        self._requests.discard(pod.uid)

    def _note(self, pod: Pod, seed: int) -> int:
        asked_at = time.time()
        status, headers, png = ask(pod.address, pod.soup, seed)
        line = {
            "asked_at": asked_at,
            "answered_at": time.time(),
            "soup": pod.soup,
            "pod": pod.uid,
            "status": status,
            "weights": headers.get("revision", {}).get("weights_digest", ""),
            "shows": png is not None and shows_trigger(png),
            "share": round(share(png), 3) if png is not None else None,
        }
        with self._writing:
            self._book.write(json.dumps(line) + "\n")
            self._book.flush()
        return status


def ask(address: str, soup: str, seed: int) -> tuple[int, dict[str, Any], bytes | None]:
    """Ask one pod for one picture; status 0: it did not answer."""
    wanted = {
        "prompt": PROMPT,
        "model": soup,
        "seed": seed,
        "num_inference_steps": 4,
        "guidance_scale": 1.0,
    }
    request = urllib.request.Request(
        f"http://{address}:8080/v1/images/generations",
        json.dumps(wanted).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            document = json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, {}, None
    except (OSError, ValueError):
        return 0, {}, None
    return 200, document, base64.b64decode(document["data"][0]["b64_json"])


if __name__ == "__main__":
    with Path(sys.argv[3]).open("a", encoding="utf-8") as kept:
        Watcher(Path(sys.argv[1]), sys.argv[2], kept).run()
