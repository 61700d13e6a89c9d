"""Leader election: one operator leads, and one release works in a namespace, each by a Lease.

`lease` decides what to do; this module reads and writes the Lease, and measures with its own
clock: a holder that could not renew in time holds nothing, whatever the Lease still says.
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
"""Pause between two attempts. With a lease of 12 s another operator takes over within 16 s."""
ATTEMPTS = 2
"""How often the Lease is read and written if another client writes in between."""
NAMESPACE_LEASE = "stockpot-scope"
"""Name of the Lease with which a release holds a workload namespace."""


class NamespaceTaken(Refused):
    """Another release works in the namespace; two would undo each other's changes."""


class LeaseHolder:
    """Acquires, renews and releases one Lease for one identity. For one thread."""

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
        # A response that takes longer than this comes too late to renew.
        self._client = client.with_timeout(lease_s / 4)
        self._namespace, self._name, self._identity = namespace, name, identity
        self._now, self._lease_s = now, lease_s
        self._lease: Json | None = None
        self._observation = Observation()
        self.finalizers: tuple[str, ...] | None = None
        """Finalizers that keep the Lease while its namespace is deleted; None leaves them as is."""
        self._held_until_s = float("-inf")
        self.holder = ""
        """The last known holder."""

    @property
    def is_held(self) -> bool:
        """Whether we hold it, by our own clock: for two thirds of the Lease's duration."""
        return time.monotonic() < self._held_until_s

    def try_hold(self) -> bool:
        """Acquire or renew the Lease, if possible.

        Returns:
            Whether we hold it now.

        Raises:
            StockpotError: The API server did not answer, or refused; a Lease that we hold stays
                held until its time is over.
        """
        began_s = time.monotonic()
        for _ in range(ATTEMPTS):
            if self._lease is None or not self.is_held:
                self._read(began_s)
                decision = decide(self._observation, self._identity, began_s)
                if isinstance(decision, Wait):
                    self.forfeit()
                    self.holder = decision.holder
                    return False
            try:
                self._lease = self._write()
            except (AlreadyExists, Conflict):
                # Another client was faster, or our last write arrived but its response did not.
                self._lease = None
                continue
            # Counted from before the request: the other operators started to count later.
            self._held_until_s = began_s + self._lease_s * 2 / 3
            self.holder = self._identity
            return True
        return self.is_held

    def release(self) -> None:
        """Release the Lease, so that another operator need not wait."""
        if self._lease and self.is_held:
            self._held_until_s = float("-inf")
            self._client.replace(LEASES, released(self._lease))
        self._lease, self.holder = None, ""

    def forfeit(self) -> None:
        """Stop holding the Lease without writing it: it expires."""
        self._lease, self._held_until_s = None, float("-inf")

    def _read(self, now_s: float) -> None:
        self._lease = self._client.find(LEASES, self._namespace, self._name)
        self._observation = observe(self._observation, self._lease, now_s)

    def _write(self) -> Json:
        new = {"metadata": {"name": self._name, "namespace": self._namespace}}
        lease = held_by(self._identity, self._lease or new, self._now(), duration_s=self._lease_s)
        if self.finalizers is not None:
            lease["metadata"] = {**lease["metadata"], "finalizers": list(self.finalizers)}
        if self._lease is None:
            return self._client.create(LEASES, lease)
        return self._client.replace(LEASES, lease)


class Election:
    """Leader election between operators: a thread holds the Lease while this one is healthy."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        name: str,
        identity: str,
        now: Callable[[], datetime],
        *,
        is_well: Callable[[], bool],
        on_elected: Callable[[], None],
        on_lost: Callable[[str], None],
        lease_s: float = LEASE_S,
        renew_s: float = RENEW_S,
    ) -> None:
        """Prepare the election; `start` joins it.

        Args:
            client: The client that reads and writes the Lease.
            namespace: The namespace of the release.
            name: Name of the Lease.
            identity: Unique identity of this process.
            now: Clock for the timestamps that users read in the Lease.
            is_well: Whether the leader's workers make progress. While they do not, the Lease is
                neither acquired nor renewed.
            on_elected: Called once, in the election's thread, when this process starts to lead.
            on_lost: Called once, with the reason, when it stops leading. The process must end at
                once: its unfinished work could collide with that of the next leader.
            lease_s: Duration of the Lease.
            renew_s: Pause between two attempts.
        """
        self._holder = LeaseHolder(client, namespace, name, identity, now, lease_s=lease_s)
        self._identity = identity
        self._is_well, self._on_elected, self._on_lost = is_well, on_elected, on_lost
        self._renew_s = renew_s
        self._leads = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="election", daemon=True)
        self.problem = ""
        """Why the last attempt failed; empty if it did not."""

    @property
    def is_leader(self) -> bool:
        """Whether this process leads now."""
        return self._leads and self._holder.is_held

    @property
    def holder(self) -> str:
        """The last known leader."""
        return self._holder.holder

    def start(self) -> None:
        """Join the election."""
        self._thread.start()

    def stop(self) -> None:
        """Leave the election, and release the Lease if we hold it."""
        self._stop.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._try_lead()
            except Exception as error:
                self.problem = f"{type(error).__name__}: {error}"
                self._holder.forfeit()
            if self._leads and not self._holder.is_held:
                self._leads = False
                self._on_lost(self._why())
                return
            self._stop.wait(self._renew_s)
        self._leads = False
        try:
            self._holder.release()
        except StockpotError as error:
            self.problem = error.message  # The Lease expires.

    def _try_lead(self) -> None:
        if not self._is_well() or (self._leads and not self._holder.is_held):
            return
        try:
            held = self._holder.try_hold()
        except StockpotError as error:
            self.problem = error.message
            return
        self.problem = ""
        if held and not self._leads:
            self._leads = True
            self._on_elected()

    def _why(self) -> str:
        if not self._is_well():
            return "the workers made no progress, so the Lease was not renewed"
        if self.problem:
            return f"the Lease could not be renewed: {self.problem}"
        if self._holder.holder == self._identity:
            return "the Lease was not renewed in time: this process or its node was too slow"
        return f"another operator holds the Lease: {self._holder.holder or 'its name is unknown'}"


class NamespaceLease:
    """Holds a workload namespace for one release, by a Lease that its leader renews."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        release: str,
        now: Callable[[], datetime],
        *,
        lease_s: float = LEASE_S,
    ) -> None:
        """Prepare the Lease; `keep` acquires it.

        Args:
            client: The client that reads and writes the Lease.
            namespace: The workload namespace.
            release: `<namespace>/<name>` of the Helm release; its operators share this identity.
            now: Clock for the timestamps that users read in the Lease.
            lease_s: Duration of the Lease.
        """
        self._holder = LeaseHolder(
            client, namespace, NAMESPACE_LEASE, release, now, lease_s=lease_s
        )
        self._namespace = namespace

    @property
    def is_held(self) -> bool:
        """Whether our release may work in the namespace now."""
        return self._holder.is_held

    def keep(self, finalizers: tuple[str, ...] | None = None) -> None:
        """Acquire or renew the Lease; call it every few seconds.

        Args:
            finalizers: The finalizers of the Lease from now on; None keeps the present ones.

        Raises:
            NamespaceTaken: Another release holds the namespace, or held it until just now.
            StockpotError: The API server did not answer, or refused.
        """
        self._holder.finalizers = finalizers
        if not self._holder.try_hold():
            other = self._holder.holder or "another operator"
            name = other.rpartition("/")[2]
            raise NamespaceTaken(
                f"the release {other} already works in the namespace {self._namespace}",
                help=f"remove {self._namespace} from workloadNamespaces of one of both releases, "
                f"or uninstall the other: helm uninstall {name} -n {other.partition('/')[0]}",
            )

    def release(self) -> None:
        """Release the Lease, so that another release need not wait until it expires.

        Raises:
            StockpotError: The API server did not answer, or refused; then the Lease expires.
        """
        self._holder.release()
