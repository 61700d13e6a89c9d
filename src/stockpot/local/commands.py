"""The commands of `stockpot local` (apply, delete, plan, down), apart from arguments and output."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from stockpot.api.complaints import Complaint
from stockpot.api.reading import read_paths
from stockpot.api.v1alpha1 import DataShard, Soup, SoupRevision
from stockpot.core.plan import check, plan
from stockpot.core.render import render
from stockpot.errors import ExitCode, Refused
from stockpot.extensions import installed
from stockpot.local.environment import remember
from stockpot.local.layout import Layout
from stockpot.local.machine import refuse_faults
from stockpot.local.preflight import preflight
from stockpot.local.session import Session, Watcher, find_named, locked, utc_now
from stockpot.reconcile.loop import observe
from stockpot.reconcile.ports import SoupKey


@dataclass(frozen=True)
class Change:
    """The outcome of a command for one object."""

    kind: str
    name: str
    did: str
    """`created`, `configured`, `unchanged` or `deleted`."""


OnChange = Callable[[Change], None]
OnNote = Callable[[Complaint], None]


def _ignore(_: Complaint) -> None:
    return


@dataclass(frozen=True)
class ApplyRequest:
    """The arguments of `stockpot local apply`."""

    files: tuple[Path, ...] = ()
    claims: Mapping[str, Path] | None = None
    port: int | None = None


def apply(
    layout: Layout,
    request: ApplyRequest,
    on_change: OnChange,
    watch: Watcher | None,
    on_note: OnNote = _ignore,
) -> None:
    """Store objects, and reconcile until settled.

    Args:
        layout: The folder.
        request: Manifests, and new settings of this machine.
        on_change: Called with each stored object, before the first reconcile.
        watch: Called after each round. With None, the objects are only stored.
        on_note: Called with each setting that is valid but ignored or changed.

    Raises:
        StockpotError: The manifests or this machine have a fault, or another process uses the
            folder. Then nothing is stored.
    """
    read = read_paths(request.files, installed())
    with locked(layout):
        session = Session(layout)
        # Every refusal comes before the first write: half of a folder applied helps nobody.
        claims = request.claims or {}
        checked = preflight(session, read, claims, request.port, reconciles=watch is not None)
        refuse_faults(checked.faults)
        for note in checked.notes:
            on_note(note)
        remember(layout, claims, request.port)
        for thing in read.objects:
            did = session.objects.apply(thing, utc_now())
            on_change(Change(thing.kind, thing.metadata.name, did))
        if watch:
            session.retry_failed()
            session.settle(watch)


def delete(
    layout: Layout, named: Iterable[str], namespace: str, on_change: OnChange, watch: Watcher | None
) -> None:
    """Delete objects, and reconcile until they are gone.

    Args:
        layout: The folder.
        named: The objects, such as `shard/food`.
        namespace: The namespace of all of them.
        on_change: Called with each object, before the first reconcile.
        watch: Called after each round. With None, the objects are only marked as deleted.

    Raises:
        Refused: There is no such object, or shards still name a soup that is to be deleted.
    """
    with locked(layout):
        session = Session(layout)
        things = []
        for kind_and_name in named:
            kind, _, name = kind_and_name.partition("/")
            things.append(find_named(session.objects, kind, namespace, name))
        for thing in things:
            if isinstance(thing, Soup):
                _end_soup(session, thing)
            session.objects.delete(thing, utc_now())
            on_change(Change(thing.kind, thing.metadata.name, "deleted"))
        if watch:
            session.retry_failed()
            session.settle(watch)


def plans(layout: Layout) -> Iterator[str]:
    """Render the stage of each shard and the actions of the next round, for each soup."""
    session = Session(layout)
    for key in session.objects.soup_keys():
        ports = session.ports(key)
        now = ports.now()
        _, world = observe(ports, fresh=True)
        if world:
            assessment = check(world, now)
            yield render(assessment, plan(assessment, now))


def down(layout: Layout) -> tuple[str, ...]:
    """End all servers and runs; objects and store stay.

    Returns:
        The names of the servers and runs that were ended.
    """
    ended = []
    with locked(layout):
        session = Session(layout)
        for key in session.objects.soup_keys():
            server = session.servers(key).process
            if server.is_running:
                server.end()
                ended.append(f"server of {key.name}")
            for run in session.runs(key).list():
                if run.is_active:
                    session.runs(key).process(run.name).end()
                    ended.append(run.name)
    return tuple(ended)


def _end_soup(session: Session, soup: Soup) -> None:
    """End the server of a soup and remove its revisions, unless a shard names the soup."""
    meta = soup.metadata
    named = [
        shard.metadata.name
        for shard in session.objects.list(DataShard, meta.namespace)
        if shard.spec.soup_ref.name == meta.name
    ]
    if named:
        raise Refused(
            f"Soup {meta.name} cannot be deleted: shards still name it: {', '.join(named)}",
            help=f"delete the shards first: stockpot local delete shard/{named[0]}",
            exit_code=ExitCode.NOT_SETTLED,
        )
    session.servers(SoupKey(meta.namespace, meta.name)).process.end()
    for revision in tuple(session.objects.list(SoupRevision, meta.namespace)):
        if revision.spec.soup_ref.uid == meta.uid:
            session.objects.remove(revision)
