"""A few requests to an API server with nothing but the standard library.

For bringing a cluster up. Whatever works with objects uses kubectl, or a real client.
"""

import http.client
import json
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from devcluster.problem import Problem

POLL_S = 0.05


@dataclass(frozen=True)
class Api:
    """Where an API server is, and who is asking."""

    url: str
    token: str
    ca: Path

    def request(
        self, method: str, path: str, body: bytes | None = None, content_type: str = ""
    ) -> tuple[int, bytes]:
        """Send one request on a connection of its own.

        Raises:
            OSError: Nobody answers, or not in time.
        """
        where = urlsplit(self.url)
        trust = ssl.create_default_context(cafile=str(self.ca))
        connection = http.client.HTTPSConnection(
            where.hostname or "", where.port, timeout=10, context=trust
        )
        headers = {"Authorization": f"Bearer {self.token}"}
        if content_type:
            headers["Content-Type"] = content_type
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()

    def get(self, path: str) -> dict[str, Any] | None:
        """Read an object; None when it is not there or cannot be asked for now."""
        try:
            status, body = self.request("GET", path)
        except OSError:
            return None
        if status != 200:
            return None
        answer = json.loads(body)
        return answer if isinstance(answer, dict) else None

    def ready(self) -> bool:
        """Whether it says that it is ready."""
        try:
            return self.request("GET", "/readyz")[0] == 200
        except OSError:
            return False


def wait_until(
    happened: Callable[[], bool],
    what: str,
    *,
    within_s: float,
    alive: Callable[[], None] = lambda: None,
) -> None:
    """Ask again and again until something has happened.

    Args:
        happened: Asks once.
        what: What is waited for, for the message.
        within_s: How long.
        alive: Raises when it can no longer happen.

    Raises:
        Problem: It has not.
    """
    deadline_s = time.monotonic() + within_s
    while not happened():
        alive()
        if time.monotonic() > deadline_s:
            raise Problem(
                f"waited {within_s:.0f} s in vain until {what}",
                help="`python -m devcluster status` says what runs, and where the logs are",
            )
        time.sleep(POLL_S)
