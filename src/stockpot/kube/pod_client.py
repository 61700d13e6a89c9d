"""HTTP to our own pods: servers are asked and told, runs say how far they are."""

import json
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import pydantic
import urllib3

from stockpot.api.model import Model
from stockpot.api.serving import Grant, ServerState
from stockpot.core.runs import TrainingProgress

PROGRESS_PORT = 8082
TIMEOUT_S = 3.0
PROGRESS_TIMEOUT_S = 1.0
PROGRESS_EVERY_S = 4.0
"""How often one run is asked: each answer may be a write of a status."""
NONCE_BYTES = 16
AT_ONCE = 16
"""Pods that are asked side by side."""

Asked = TypeVar("Asked")
Said = TypeVar("Said")


@dataclass(frozen=True)
class _Heard:
    at_s: float
    advance: TrainingProgress | None


class PodClient:
    """Connections to pods. For many threads."""

    def __init__(self) -> None:
        self._http = urllib3.PoolManager(num_pools=64, maxsize=4, retries=False)
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="asking")
        self._heard: dict[str, _Heard] = {}

    def close(self) -> None:
        """Ask no more."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._http.clear()

    def each(self, ask: Callable[[Asked], Said], whom: Sequence[Asked]) -> list[Said]:
        """Ask all of them side by side, so that silent ones cost their time once."""
        return list(self._threads.map(ask, whom))

    def state(self, admin_url: str) -> ServerState | None:
        """What a server says of itself; None where it does not answer, or to another question."""
        nonce = secrets.token_hex(NONCE_BYTES)
        try:
            answer = self.fetch(f"{admin_url}/state?nonce={nonce}", TIMEOUT_S)
            state = ServerState.model_validate_json(answer)
        except (urllib3.exceptions.HTTPError, OSError, pydantic.ValidationError):
            return None
        # One of an earlier version repeats none, and that is what a receipt says then.
        return state if state.nonce in ("", nonce) else None

    def tell(self, admin_url: str, verb: str, grant: Grant) -> None:
        """Send a grant. What the server says to it does not count: its state does, later."""
        try:
            self._post(f"{admin_url}/weights:{verb}", grant)
        except (urllib3.exceptions.HTTPError, OSError):
            return

    def advance(self, uid: str, ip: str) -> TrainingProgress | None:
        """How far a run says it is; asked now and then, remembered in between."""
        heard = self._heard.get(uid)
        if heard and time.monotonic() - heard.at_s < PROGRESS_EVERY_S:
            return heard.advance
        said = self._progress(ip)
        if len(self._heard) > 10_000:
            self._heard.clear()
        self._heard[uid] = _Heard(time.monotonic(), said)
        return said

    def fetch(self, url: str, timeout_s: float) -> bytes:
        """Send a GET request to a pod, and return the body of the response.

        Raises:
            OSError: The pod cannot be reached; as is urllib3's HTTPError.
        """
        return self._http.request("GET", url, timeout=urllib3.Timeout(timeout_s)).data

    def _progress(self, ip: str) -> TrainingProgress | None:
        host = f"[{ip}]" if ":" in ip else ip
        try:
            answer = self.fetch(f"http://{host}:{PROGRESS_PORT}/progress", PROGRESS_TIMEOUT_S)
            said: dict[str, Any] = json.loads(answer)
            loss = said.get("figures", {}).get("loss")
            return TrainingProgress(
                int(said["step"]),
                int(said["total_steps"]),
                f"{float(loss):.4f}" if loss is not None else "",
                phase=str(said["phase"]),
            )
        except (urllib3.exceptions.HTTPError, OSError, ValueError, KeyError, TypeError):
            return None

    def _post(self, url: str, said: Model) -> None:
        self._http.request(
            "POST",
            url,
            body=said.model_dump_json(by_alias=True),
            headers={"Content-Type": "application/json"},
            timeout=urllib3.Timeout(TIMEOUT_S),
        )
