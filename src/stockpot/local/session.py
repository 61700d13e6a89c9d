"""Work on one folder, alone: store what is asked for, and reconcile until nothing is left to do."""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

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
"""How often a server that is loading, and the progress of runs, are asked about."""


@dataclass(frozen=True)
class LocalSnapshot:
    """What a person may see after each round."""

    key: SoupKey
    round: Round
    progress: Mapping[RunName, Snapshot]
    url: str
    """Where the soup is served; empty while it is not."""


Watcher = Callable[[LocalSnapshot], None]


@contextmanager
def locked(layout: Layout) -> Iterator[None]:
    """Be the only one who works on the folder.

    Raises:
        Refused: Another process does; the message names it.
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
                f"{layout.root} is worked on by process {holder}",
                help=f"wait for it, or look on with `stockpot local watch`{ending}",
                exit_code=ExitCode.LOCKED,
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def utc_now() -> datetime:
    """The clock of local mode."""
    return datetime.fromtimestamp(time.time(), UTC)


class Session:
    """One folder, its soups and their servers."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.objects = ObjectFolder(layout)
        self._ports: dict[SoupKey, Ports] = {}

    @property
    def places(self) -> Places:
        """What the user said of this machine."""
        return read_places(self.layout)

    @property
    def surroundings(self) -> FolderEnvironment:
        """Where things are."""
        return FolderEnvironment(self.layout, self.places)

    def runs(self, key: SoupKey) -> ProcessRuns:
        """The runs of one soup."""
        return ProcessRuns(self.layout.runs(*key))

    def servers(self, key: SoupKey) -> ProcessServers:
        """The server of one soup."""
        servers = self.ports(key).servers
        assert isinstance(servers, ProcessServers)
        return servers

    def ports(self, key: SoupKey) -> Ports:
        """What a round of one soup needs."""
        if key not in self._ports:
            places = self.places
            self._ports[key] = Ports(
                objects=FolderObjects(self.objects, key),
                runs=self.runs(key),
                servers=ProcessServers(Process(self.layout.server(*key)), places.port),
                surroundings=self.surroundings,
                now=utc_now,
            )
        return self._ports[key]

    def retry_failed(self) -> None:
        """Let what failed be tried again."""
        for key in self.objects.soup_keys():
            self.runs(key).retry_failed()

    def settle(self, watch: Watcher) -> None:
        """Reconcile every soup until nothing is left to do, or nothing but what needs a person.

        May be broken off anywhere; runs go on, and the next call finds them.

        Raises:
            StockpotError: A server cannot be started.
        """
        asked_before: dict[SoupKey, Plan] = {}
        while True:
            rounds = {key: reconcile(self.ports(key)) for key in self.objects.soup_keys()}
            for key, one in rounds.items():
                watch(self.sight(key, one))
            asked = {key: one.plan for key, one in rounds.items() if one.plan.actions}
            is_new, asked_before = asked != asked_before, asked
            if asked and is_new:
                continue
            # Where the same is asked for again, what was asked for takes its time.
            if not asked and not _is_busy(rounds):
                self._raise_server_problem(rounds)
                return
            self._wait(rounds)

    def sight(self, key: SoupKey, one: Round) -> LocalSnapshot:
        """Put together what a person may see."""
        runs = self.runs(key)
        active = [run.name for run in runs.list() if run.is_active]
        progress = {name: seen for name in active if (seen := ask_progress(runs.process(name)))}
        endpoint = self.servers(key).endpoint
        return LocalSnapshot(key, one, progress, endpoint.url if endpoint else "")

    def _wait(self, rounds: Mapping[SoupKey, Round]) -> None:
        """Sleep until a run ends, or it is time to look at servers and progress again."""
        active = [
            self.runs(key).process(run.name)
            for key in rounds
            for run in self.runs(key).list()
            if run.is_active
        ]
        wakes = [one.wake_at for one in rounds.values() if one.wake_at]
        until = min(((wake - utc_now()).total_seconds() for wake in wakes), default=LOOK_S)
        wait_for_any(active, max(0.0, min(until, LOOK_S)))

    def _raise_server_problem(self, rounds: Mapping[SoupKey, Round]) -> None:
        for key in rounds:
            problem = self.servers(key).problem
            if problem and problem.exit_code != ExitCode.INTERRUPTED:
                raise StockpotError(
                    f"the server of {key.name} cannot run: {problem.message}",
                    help=problem.help,
                    exit_code=next(code for code in ExitCode if code == problem.exit_code),
                )


def _is_busy(rounds: Mapping[SoupKey, Round]) -> bool:
    """Whether anything that the rounds saw is still to come.

    What they saw, not what is so now: a run that ended since is looked at once more.
    """
    for one in rounds.values():
        if one.assessment is None:
            continue
        active = any(run.is_active for run in one.assessment.inputs.world.runs)
        if one.wake_at or active or _waits_for_server(one.assessment):
            return True
    return False


def _waits_for_server(assessment: Assessment) -> bool:
    """Whether a server is on its way, and not one that cannot go on by itself."""
    world = assessment.inputs.world
    return any(
        not server.answers or (not world.is_serving(server) and not server.problem)
        for server in world.servers
    )


def ask_progress(process: Process) -> Snapshot | None:
    """Ask a run how far it is; None where it does not say."""
    with suppress(OSError, urllib3.exceptions.HTTPError, ValueError):
        url = (process.work / "progress.url").read_text()
        answer = urllib3.request("GET", f"{url}/progress", timeout=1.0, retries=False)
        return Snapshot(**json.loads(answer.data))
    return None


def find_named(objects: ObjectFolder, kind: str, namespace: str, name: str) -> DataShard | Soup:
    """Find what a person named, as `shard/food`.

    Raises:
        Refused: There is none, or it is not of a kind that people delete.
    """
    kinds: dict[str, type[DataShard] | type[Soup]] = {
        **dict.fromkeys(("shard", "shards", "datashard", "datashards"), DataShard),
        **dict.fromkeys(("soup", "soups"), Soup),
    }
    if kind.lower() not in kinds:
        raise Refused(f"{kind} cannot be deleted", help="name a shard or a soup, as shard/food")
    wanted = kinds[kind.lower()]
    found = (
        objects.read(DataShard, namespace, name)
        if wanted is DataShard
        else objects.read(Soup, namespace, name)
    )
    if found is None:
        raise Refused(
            f"there is no {wanted.__name__} {name} in {namespace}",
            help="see what there is: stockpot local get shards",
        )
    return found


def folder_of(root: Path) -> Session:
    """Open a folder."""
    return Session(Layout(root))
