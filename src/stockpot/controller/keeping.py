"""One release works in a namespace: the leader says so in each, and works only where it may."""

import threading
from collections.abc import Callable, Sequence
from datetime import datetime

import structlog

from stockpot.cluster.client import Client
from stockpot.cluster.election import Scope
from stockpot.errors import StockpotError

log = structlog.get_logger("stockpot.scope")

EVERY_S = 4.0


class Keeping:
    """The Scope leases of all workload namespaces, on a thread of their own."""

    def __init__(
        self,
        client: Client,
        namespaces: Sequence[str],
        release: str,
        now: Callable[[], datetime],
    ) -> None:
        self._scopes = {name: Scope(client, name, release, now) for name in namespaces}
        self.problems: dict[str, str] = {}
        """Why we may not work in a namespace, by its name."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scope", daemon=True)

    def start(self) -> None:
        """Take what is free."""
        self._thread.start()

    def stop(self) -> None:
        """Keep none any longer: they run out by themselves."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def is_ours(self, namespace: str) -> bool:
        """Whether we may work there at this moment."""
        scope = self._scopes.get(namespace)
        return scope is not None and scope.is_held

    def _run(self) -> None:
        while not self._stop.is_set():
            for namespace, scope in self._scopes.items():
                self._keep(namespace, scope)
            self._stop.wait(EVERY_S)

    def _keep(self, namespace: str, scope: Scope) -> None:
        try:
            scope.keep()
        except StockpotError as error:
            if self.problems.get(namespace) != error.message:
                log.error(error.message, namespace=namespace, help=error.help)
            self.problems[namespace] = error.message
        else:
            if self.problems.pop(namespace, None):
                log.info("the namespace is ours to work in", namespace=namespace)
