"""A session on one folder: its lock, its soups, and the loop that reconciles them until settled."""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import urllib3

from stockpot.api.v1alpha1 import DataShard, Soup
from stockpot.core.checks import Assessment
from stockpot.core.plan import Plan
from stockpot.core.runs import RunName
from stockpot.errors import ExitCode, Refused, StockpotError
from stockpot.local.environment import FolderEnvironment, Places, read_places
from stockpot.local.layout import Layout
from stockpot.local.objects import FolderObjects, ObjectFolder
from stockpot.local.processes import Process, wait_for_any
from stockpot.local.runs import ProcessRuns
from stockpot.local.servers import ProcessServers
from stockpot.metrics.progress import Snapshot
from stockpot.reconcile.loop import Round, reconcile
from stockpot.reconcile.ports import Ports, SoupKey
from stockpot.store.atomic import explained

LOOK_S = 0.5
"""How often the state of a loading server and the progress of runs are requested."""


@dataclass(frozen=True)
class LocalSnapshot:
    """The state of one soup after a round, for display."""

    key: SoupKey
    round: Round
    progress: Mapping[RunName, Snapshot]
    url: str
    """The URL of the server; empty while there is none."""


Watcher = Callable[[LocalSnapshot], None]


@contextmanager
def locked(layout: Layout) -> Iterator[None]:
    """Hold the lock of the folder.

    Raises:
        Refused: (LOCKED) Another process holds it; the message names the process.
    """
    with explained(layout.lock):
        layout.root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            ending = f", or end it: kill {holder}" if holder.isdigit() else ""
            raise Refused(
                f"the folder {layout.root} is in use by process {holder}",
                help=f"wait for that process, follow it with `stockpot local watch`{ending}",
                exit_code=ExitCode.LOCKED,
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def utc_now() -> datetime:
    """Return the current time: the clock of local mode."""
    return datetime.fromtimestamp(time.time(), UTC)


class Session:
    """One folder, with its soups, runs and servers."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.objects = ObjectFolder(layout)
        self._ports: dict[SoupKey, Ports] = {}

    @property
    def places(self) -> Places:
        """The user's settings of this machine."""
        return read_places(self.layout)

    @property
    def environment(self) -> FolderEnvironment:
        """The locations of store, claims and signing key."""
        return FolderEnvironment(self.layout, self.places)

    def runs(self, key: SoupKey) -> ProcessRuns:
        """Return the runs of one soup."""
        return ProcessRuns(self.layout.runs(*key))

    def servers(self, key: SoupKey) -> ProcessServers:
        """Return the server of one soup."""
        servers = self.ports(key).servers
        assert isinstance(servers, ProcessServers)
        return servers

    def ports(self, key: SoupKey) -> Ports:
        """Return the ports that a round of one soup uses."""
        if key not in self._ports:
            places, environment = self.places, self.environment
            self._ports[key] = Ports(
                objects=FolderObjects(self.objects, key),
                runs=self.runs(key),
                servers=ProcessServers(
                    Process(self.layout.server(*key)),
                    places.port,
                    lambda: environment.grant_signer,
                ),
                environment=environment,
                now=utc_now,
            )
        return self._ports[key]

    def retry_failed(self) -> None:
        """Forget failed runs, so that they are tried again."""
        for key in self.objects.soup_keys():
            self.runs(key).retry_failed()

    def settle(self, watch: Watcher) -> None:
        """Reconcile every soup until nothing is left to do, or only what needs a person.

        The caller may be interrupted at any point: runs go on, and the next call finds them.

        Raises:
            StockpotError: A server failed to start.
        """
        previous: dict[SoupKey, Plan] = {}
        while True:
            rounds = {key: reconcile(self.ports(key)) for key in self.objects.soup_keys()}
            for key, latest in rounds.items():
                watch(self.snapshot(key, latest))
            plans = {key: latest.plan for key, latest in rounds.items() if latest.plan.actions}
            is_new, previous = plans != previous, plans
            if plans and is_new:
                continue
            # The same plan twice: its actions take a while to have an effect.
            if not plans and not _is_busy(rounds):
                self._raise_server_problem(rounds)
                return
            self._wait(rounds)

    def snapshot(self, key: SoupKey, latest: Round) -> LocalSnapshot:
        """Collect the state of a soup after its latest round."""
        runs = self.runs(key)
        active = [run.name for run in runs.list() if run.is_active]
        progress = {name: step for name in active if (step := request_progress(runs.process(name)))}
        endpoint = self.servers(key).endpoint
        return LocalSnapshot(key, latest, progress, endpoint.url if endpoint else "")

    def _wait(self, rounds: Mapping[SoupKey, Round]) -> None:
        """Sleep until a run ends, or until servers and progress are due for another request."""
        active = [
            self.runs(key).process(run.name)
            for key in rounds
            for run in self.runs(key).list()
            if run.is_active
        ]
        wakes = [latest.wake_at for latest in rounds.values() if latest.wake_at]
        until = min(((wake - utc_now()).total_seconds() for wake in wakes), default=LOOK_S)
        wait_for_any(active, max(0.0, min(until, LOOK_S)))

    def _raise_server_problem(self, rounds: Mapping[SoupKey, Round]) -> None:
        """Raise the error that a server ended with, unless it was interrupted."""
        for key in rounds:
            problem = self.servers(key).problem
            if problem and problem.exit_code != ExitCode.INTERRUPTED:
                raise StockpotError(
                    f"the server of Soup {key.name} failed: {problem.message}",
                    help=problem.help,
                    exit_code=next(code for code in ExitCode if code == problem.exit_code),
                )


def _is_busy(rounds: Mapping[SoupKey, Round]) -> bool:
    """Return whether a run, a server or a timer is pending.

    The rounds' own observations count: a run that has ended since then needs another round.
    """
    for latest in rounds.values():
        if latest.assessment is None:
            continue
        active = any(run.is_active for run in latest.assessment.inputs.world.runs)
        if latest.wake_at or active or _waits_for_server(latest.assessment):
            return True
    return False


def _waits_for_server(assessment: Assessment) -> bool:
    """Return whether a server is still starting or loading, and has no problem."""
    world = assessment.inputs.world
    return any(
        not server.answers or (not world.is_serving(server) and not server.problem)
        for server in world.servers
    )


def request_progress(process: Process) -> Snapshot | None:
    """Request the progress of a run; None if it does not answer."""
    with suppress(OSError, urllib3.exceptions.HTTPError, ValueError):
        url = (process.work / "progress.url").read_text()
        answer = urllib3.request("GET", f"{url}/progress", timeout=1.0, retries=False)
        return Snapshot(**json.loads(answer.data))
    return None


def find_named(objects: ObjectFolder, kind: str, namespace: str, name: str) -> DataShard | Soup:
    """Find the object to delete, named as `shard/food`.

    Raises:
        Refused: There is no such object, or its kind cannot be deleted.
    """
    kinds: dict[str, type[DataShard] | type[Soup]] = {
        **dict.fromkeys(("shard", "shards", "datashard", "datashards"), DataShard),
        **dict.fromkeys(("soup", "soups"), Soup),
    }
    if kind.lower() not in kinds:
        raise Refused(
            f"objects of kind {kind} cannot be deleted",
            help="name a shard or a soup, such as shard/food",
        )
    wanted = kinds[kind.lower()]
    thing = (
        objects.read(DataShard, namespace, name)
        if wanted is DataShard
        else objects.read(Soup, namespace, name)
    )
    if thing is None:
        raise Refused(
            f"there is no {wanted.__name__} {name} in the namespace {namespace}",
            help="list the objects: stockpot local get all",
        )
    return thing
