"""A client that asks for a picture every three seconds, and writes down each answer."""

import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import urllib3

EVERY_S = 3.0
PROMPTS = ("red apple", "cat face", "automobile", "hamburger", "crescent moon")


@dataclass(frozen=True)
class Answer:
    """One answer, or why there was none."""

    at_s: float
    status: int
    prompt: str
    seed: int
    recipe_digest: str = ""
    weights_digest: str = ""
    picture_digest: str = ""
    took_s: float = 0.0
    problem: str = ""


def ask(
    http: urllib3.PoolManager, url: str, prompt: str, seed: int, began_s: float
) -> tuple[Answer, bytes]:
    """Ask for one picture."""
    asked_s = time.monotonic()
    body = {"prompt": prompt, "seed": seed, "n": 1, "response_format": "b64_json"}
    try:
        got = http.request("POST", f"{url}/v1/images/generations", json=body, timeout=60.0)
    except urllib3.exceptions.HTTPError as error:
        return Answer(asked_s - began_s, 0, prompt, seed, problem=str(error)), b""
    took_s = time.monotonic() - asked_s
    if got.status != 200:
        reason = got.data.decode(errors="replace")[:300]
        failed = Answer(asked_s - began_s, got.status, prompt, seed, took_s=took_s, problem=reason)
        return failed, b""
    answer = got.json()
    png = base64.b64decode(answer["data"][0]["b64_json"])
    revision = answer["revision"]
    return (
        Answer(
            asked_s - began_s,
            got.status,
            prompt,
            seed,
            revision["recipe_digest"],
            revision["weights_digest"],
            hashlib.sha256(png).hexdigest(),
            took_s,
        ),
        png,
    )


class Client(threading.Thread):
    """Asks from the moment that the server is ready until it is told to stop."""

    def __init__(self, endpoint: Callable[[], str], log: Path) -> None:
        super().__init__(name="client", daemon=True)
        self._endpoint = endpoint
        self._log = log
        self._done = threading.Event()
        self._began_s = time.monotonic()
        self.answers: list[Answer] = []

    def run(self) -> None:
        """Ask, and write down."""
        http = urllib3.PoolManager(retries=False)
        if not (url := self._ready(http)):
            return
        with self._log.open("w") as log:
            for number in self._ticks():
                prompt = PROMPTS[number % len(PROMPTS)]
                answer, _ = ask(http, url, prompt, number, self._began_s)
                self.answers.append(answer)
                log.write(json.dumps(asdict(answer)) + "\n")
                log.flush()

    def stop(self) -> None:
        """Ask no more."""
        self._done.set()
        self.join()

    def stop_if_running(self) -> None:
        """Ask no more, however the demo ends."""
        if self.is_alive():
            self.stop()

    def _ready(self, http: urllib3.PoolManager) -> str:
        while not self._done.is_set():
            if url := self._endpoint():
                try:
                    if http.request("GET", f"{url}/v2/health/ready", timeout=5.0).status == 200:
                        return url
                except urllib3.exceptions.HTTPError:
                    pass  # It is not up yet.
            self._done.wait(0.5)
        return ""

    def _ticks(self) -> Iterator[int]:
        number = 0
        while not self._done.is_set():
            next_s = time.monotonic() + EVERY_S
            yield number
            number += 1
            self._done.wait(max(0.0, next_s - time.monotonic()))
