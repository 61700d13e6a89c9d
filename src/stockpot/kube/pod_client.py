"""HTTP client of our own pods: state and grants of servers, progress of trainings."""

import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import pydantic
import urllib3

from stockpot.api.model import Model
from stockpot.api.serving import Grant, ServerState
from stockpot.authentication.signatures import GrantKind, refusal_of
from stockpot.core.runs import TrainingProgress

PROGRESS_PORT = 8082
TIMEOUT_S = 3.0
PROGRESS_TIMEOUT_S = 1.0
PROGRESS_EVERY_S = 4.0
"""How often a run is polled: each change may cause a write of a status."""
NONCE_BYTES = 16
THREADS = 16
"""Pods that are called concurrently."""

Argument = TypeVar("Argument")
Result = TypeVar("Result")


@dataclass(frozen=True)
class _CachedProgress:
    at_s: float
    progress: TrainingProgress | None


class PodClient:
    """Connections to pods. Thread-safe."""

    def __init__(self) -> None:
        self._http = urllib3.PoolManager(num_pools=64, maxsize=4, retries=False)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="pods")
        self._cached: dict[str, _CachedProgress] = {}

    def close(self) -> None:
        """Stop the threads, and close the connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._http.clear()

    def map(
        self, call: Callable[[Argument], Result], arguments: Sequence[Argument]
    ) -> list[Result]:
        """Call concurrently, so that the timeouts of silent pods do not add up."""
        return list(self._threads.map(call, arguments))

    def server_state(self, admin_url: str) -> ServerState | None:
        """Return a server's state; None without an answer, or with another request's nonce."""
        nonce = secrets.token_hex(NONCE_BYTES)
        try:
            body = self.fetch(f"{admin_url}/state?nonce={nonce}", TIMEOUT_S)
            state = ServerState.model_validate_json(body)
        except (urllib3.exceptions.HTTPError, OSError, pydantic.ValidationError):
            return None
        # A server of an earlier version repeats no nonce, and the receipt then says so.
        return state if state.nonce in ("", nonce) else None

    def send_grant(
        self, admin_url: str, kind: GrantKind, grant: Grant, headers: Mapping[str, str]
    ) -> str:
        """Send a grant. What it does is read from the server's later state.

        Returns:
            Why the server took it for another's; empty if it did not.
        """
        try:
            response = self._post(f"{admin_url}/weights:{kind}", grant, headers)
        except (urllib3.exceptions.HTTPError, OSError):
            return ""
        return refusal_of(response.status, response.data)

    def training_progress(self, uid: str, ip: str) -> TrainingProgress | None:
        """Return a training's progress, cached for a few seconds; None without an answer."""
        cached = self._cached.get(uid)
        if cached and time.monotonic() - cached.at_s < PROGRESS_EVERY_S:
            return cached.progress
        progress = self._get_progress(ip)
        if len(self._cached) > 10_000:
            self._cached.clear()
        self._cached[uid] = _CachedProgress(time.monotonic(), progress)
        return progress

    def fetch(self, url: str, timeout_s: float) -> bytes:
        """Send a GET request to a pod, and return the body of the response.

        Raises:
            OSError: The pod cannot be reached; as is urllib3's HTTPError.
        """
        return self._http.request("GET", url, timeout=urllib3.Timeout(timeout_s)).data

    def _get_progress(self, ip: str) -> TrainingProgress | None:
        host = f"[{ip}]" if ":" in ip else ip
        try:
            response = self.fetch(f"http://{host}:{PROGRESS_PORT}/progress", PROGRESS_TIMEOUT_S)
            body: dict[str, Any] = json.loads(response)
            loss = body.get("figures", {}).get("loss")
            return TrainingProgress(
                int(body["step"]),
                int(body["total_steps"]),
                f"{float(loss):.4f}" if loss is not None else "",
                phase=str(body["phase"]),
            )
        except (urllib3.exceptions.HTTPError, OSError, ValueError, KeyError, TypeError):
            return None

    def _post(self, url: str, body: Model, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        return self._http.request(
            "POST",
            url,
            body=body.model_dump_json(by_alias=True),
            headers={"Content-Type": "application/json", **headers},
            timeout=urllib3.Timeout(TIMEOUT_S),
        )
