"""Holding a Lease: one operator leads, and one release works in a namespace.

What to do is decided in `lease`; here it is done, and the time of our own word is kept: whoever
could not renew in time holds nothing, whatever the Lease still says.
"""

import threading
import time
from collections.abc import Callable
from datetime import datetime

from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.errors import AlreadyExists, Conflict
from stockpot.cluster.apiserver.lease import (
    LEASE_S,
    Observation,
    Wait,
    decide,
    held_by,
    observe,
    released,
)
from stockpot.cluster.apiserver.objects import Json
from stockpot.cluster.apiserver.resources import LEASES
from stockpot.errors import Refused, StockpotError

RENEW_S = 2.0
"""Between two looks. With a lease of 12 s another takes over within 16 s."""
ATTEMPTS = 2
"""How often it is looked at and written, where somebody writes in between."""
SCOPE = "stockpot-scope"
"""Name of the Lease by which a release holds a workload namespace."""


class ScopeTaken(Refused):
    """Another release works in the namespace: two would undo each other's work."""


class Tenure:
    """One Lease, as one identity. For one thread."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        name: str,
        identity: str,
        now: Callable[[], datetime],
        *,
        lease_s: float = LEASE_S,
    ) -> None:
        # An answer that comes later than this would come too late.
        self._client = client.within(lease_s / 4)
        self._namespace, self._name, self._identity = namespace, name, identity
        self._now, self._lease_s = now, lease_s
        self._lease: Json | None = None
        self._seen = Observation()
        self.finalizers: tuple[str, ...] | None = None
        """What keeps the Lease where its namespace is deleted; None: left as they are."""
        self._held_until_s = float("-inf")
        self.holder = ""
        """Who holds it, as far as we know."""

    @property
    def is_held(self) -> bool:
        """Whether we hold it, by our own clock: two thirds of what the others believe."""
        return time.monotonic() < self._held_until_s

    def try_hold(self) -> bool:
        """Take it or renew it, if that can be.

        Returns:
            Whether we hold it now.

        Raises:
            StockpotError: The API server did not answer, or says no; what we hold, we still do.
        """
        began_s = time.monotonic()
        for _ in range(ATTEMPTS):
            if self._lease is None or not self.is_held:
                self._look(began_s)
                chosen = decide(self._seen, self._identity, began_s)
                if isinstance(chosen, Wait):
                    self.forfeit()
                    self.holder = chosen.holder
                    return False
            try:
                self._lease = self._write()
            except (AlreadyExists, Conflict):
                # Somebody was quicker, or our own last word arrived though its answer did not.
                self._lease = None
                continue
            # Counted from before we asked: the others' time began later.
            self._held_until_s = began_s + self._lease_s * 2 / 3
            self.holder = self._identity
            return True
        return self.is_held

    def release(self) -> None:
        """Give it back, so that another need not wait."""
        if self._lease and self.is_held:
            self._held_until_s = float("-inf")
            self._client.replace(LEASES, released(self._lease))
        self._lease, self.holder = None, ""

    def forfeit(self) -> None:
        """Hold it no longer, without a word to anybody: the Lease runs out by itself."""
        self._lease, self._held_until_s = None, float("-inf")

    def _look(self, now_s: float) -> None:
        self._lease = self._client.find(LEASES, self._namespace, self._name)
        self._seen = observe(self._seen, self._lease, now_s)

    def _write(self) -> Json:
        new = {"metadata": {"name": self._name, "namespace": self._namespace}}
        told = held_by(self._identity, self._lease or new, self._now(), duration_s=self._lease_s)
        if self.finalizers is not None:
            told["metadata"] = {**told["metadata"], "finalizers": list(self.finalizers)}
        if self._lease is None:
            return self._client.create(LEASES, told)
        return self._client.replace(LEASES, told)


class Election:
    """One of several operators leads: a thread holds the Lease for as long as we are well."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        name: str,
        identity: str,
        now: Callable[[], datetime],
        *,
        is_well: Callable[[], bool],
        elected: Callable[[], None],
        lost: Callable[[str], None],
        lease_s: float = LEASE_S,
        renew_s: float = RENEW_S,
    ) -> None:
        """Take part from `start` on.

        Args:
            client: Whose connections are used.
            namespace: The release's.
            name: Of the Lease.
            identity: Ours; no other process may ever have the same.
            now: Tells the time, for people who read the Lease.
            is_well: Whether the loop that the leader runs still turns. While it does not, the
                Lease is neither taken nor renewed.
            elected: Called once, in the election's thread, when we lead.
            lost: Called once, with the reason, when we led and no longer do. The process is to
                end at once: what it has begun may meet what the next leader begins.
            lease_s: So long the others believe us.
            renew_s: Between two looks.
        """
        self._tenure = Tenure(client, namespace, name, identity, now, lease_s=lease_s)
        self._identity = identity
        self._is_well, self._elected, self._lost = is_well, elected, lost
        self._renew_s = renew_s
        self._leads = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="election", daemon=True)
        self.problem = ""
        """Why the last look at the Lease failed; empty where it did not."""

    @property
    def is_leader(self) -> bool:
        """Whether we lead at this moment."""
        return self._leads and self._tenure.is_held

    @property
    def holder(self) -> str:
        """Who leads, as far as we know."""
        return self._tenure.holder

    def start(self) -> None:
        """Take part."""
        self._thread.start()

    def stop(self) -> None:
        """Take part no longer; give the Lease back where we have it."""
        self._stop.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._look()
            except Exception as error:
                self.problem = f"{type(error).__name__}: {error}"
                self._tenure.forfeit()
            if self._leads and not self._tenure.is_held:
                self._leads = False
                self._lost(self._why())
                return
            self._stop.wait(self._renew_s)
        self._leads = False
        try:
            self._tenure.release()
        except StockpotError as error:
            self.problem = error.message  # It runs out by itself.

    def _look(self) -> None:
        if not self._is_well() or (self._leads and not self._tenure.is_held):
            return
        try:
            held = self._tenure.try_hold()
        except StockpotError as error:
            self.problem = error.message
            return
        self.problem = ""
        if held and not self._leads:
            self._leads = True
            self._elected()

    def _why(self) -> str:
        if not self._is_well():
            return "the loop has stood still, so the Lease was not renewed"
        if self.problem:
            return f"the Lease could not be renewed: {self.problem}"
        if self._tenure.holder == self._identity:
            return "the Lease was not renewed in time: this process was held up, or its machine"
        return f"another holds the Lease: {self._tenure.holder or 'it was written by somebody'}"


class Scope:
    """One release works in a workload namespace: its leader says so there, again and again."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        release: str,
        now: Callable[[], datetime],
        *,
        lease_s: float = LEASE_S,
    ) -> None:
        """Hold nothing yet.

        Args:
            client: Whose connections are used.
            namespace: Where shards and soups are.
            release: `<namespace>/<name>` of the Helm release; its operators share it.
            now: Tells the time, for people who read the Lease.
            lease_s: So long others believe us.
        """
        self._tenure = Tenure(client, namespace, SCOPE, release, now, lease_s=lease_s)
        self._namespace = namespace

    @property
    def is_held(self) -> bool:
        """Whether we may work there at this moment."""
        return self._tenure.is_held

    def keep(self, finalizers: tuple[str, ...] | None = None) -> None:
        """Take it or renew it: to be called every few seconds.

        Args:
            finalizers: Those that the Lease has from now on; None: it keeps those that it has.

        Raises:
            ScopeTaken: Another release holds it, or did until a moment ago.
            StockpotError: The API server did not answer, or says no.
        """
        self._tenure.finalizers = finalizers
        if not self._tenure.try_hold():
            other = self._tenure.holder or "another operator"
            name = other.rpartition("/")[2]
            raise ScopeTaken(
                f"the release {other} already works in the namespace {self._namespace}",
                help=f"take {self._namespace} from workloadNamespaces of one of the two releases, "
                f"or uninstall the other: helm uninstall {name} -n {other.partition('/')[0]}",
            )
