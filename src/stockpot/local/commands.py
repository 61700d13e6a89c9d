"""What `stockpot local …` does, without its words and colours: apply, delete, down."""

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
    """What became of one object."""

    kind: str
    name: str
    did: str
    """`created`, `configured`, `unchanged` or `deleted`."""


Tell = Callable[[Change], None]
Note = Callable[[Complaint], None]


def _say_nothing(_: Complaint) -> None:
    """Take no note."""


@dataclass(frozen=True)
class ApplyRequest:
    """What a person asks for in one go."""

    files: tuple[Path, ...] = ()
    claims: Mapping[str, Path] | None = None
    port: int | None = None


def apply(
    layout: Layout,
    asked: ApplyRequest,
    tell: Tell,
    watch: Watcher | None,
    note: Note = _say_nothing,
) -> None:
    """Store objects, and reconcile until settled.

    Args:
        layout: The folder.
        asked: Manifests, and what is new of this machine.
        tell: Told what became of each object, before anything is carried out.
        watch: Told after each round; None: store only, and carry nothing out.
        note: Told what is not wrong, and not used as it stands.

    Raises:
        StockpotError: Something is wrong with the manifests or this machine, then nothing is
            stored; or the folder is in use.
    """
    read = read_paths(asked.files, installed())
    with locked(layout):
        session = Session(layout)
        # Every refusal comes before the first write: half of a folder applied helps nobody.
        claims = asked.claims or {}
        found = preflight(session, read, claims, asked.port, carries_out=watch is not None)
        refuse_faults(found.faults)
        for complaint in found.notes:
            note(complaint)
        remember(layout, claims, asked.port)
        for thing in read.objects:
            tell(Change(thing.kind, thing.metadata.name, session.objects.apply(thing, utc_now())))
        if watch:
            session.retry_failed()
            session.settle(watch)


def delete(
    layout: Layout, named: Iterable[str], namespace: str, tell: Tell, watch: Watcher | None
) -> None:
    """Delete objects, and reconcile until they are gone.

    Args:
        layout: The folder.
        named: As `shard/food`.
        namespace: Of all of them.
        tell: Told what became of each object, before anything is carried out.
        watch: Told after each round; None: mark only, and carry nothing out.

    Raises:
        Refused: There is no such object, or shards still name a soup that is to go.
    """
    with locked(layout):
        session = Session(layout)
        found = []
        for one in named:
            kind, _, name = one.partition("/")
            found.append(find_named(session.objects, kind, namespace, name))
        for thing in found:
            if isinstance(thing, Soup):
                _end_soup(session, thing)
            session.objects.delete(thing, utc_now())
            tell(Change(thing.kind, thing.metadata.name, "deleted"))
        if watch:
            session.retry_failed()
            session.settle(watch)


def plans(layout: Layout) -> Iterator[str]:
    """Say of each soup where its shards stand and what the next round would ask for."""
    session = Session(layout)
    for key in session.objects.soup_keys():
        ports = session.ports(key)
        now = ports.now()
        _, world = observe(ports, fresh=True)
        if world:
            assessment = check(world, now)
            yield render(assessment, plan(assessment, now))


def down(layout: Layout) -> tuple[str, ...]:
    """End the servers and whatever still runs; the folder stays as it is.

    Returns:
        The names of what was ended.
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
    meta = soup.metadata
    named = [
        shard.metadata.name
        for shard in session.objects.list(DataShard, meta.namespace)
        if shard.spec.soup_ref.name == meta.name
    ]
    if named:
        raise Refused(
            f"shards still name Soup {meta.name}: {', '.join(named)}",
            help=f"delete them first: stockpot local delete shard/{named[0]}",
            exit_code=ExitCode.NOT_SETTLED,
        )
    session.servers(SoupKey(meta.namespace, meta.name)).process.end()
    for revision in tuple(session.objects.list(SoupRevision, meta.namespace)):
        if revision.spec.soup_ref.uid == meta.uid:
            session.objects.remove(revision)
