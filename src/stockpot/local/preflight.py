"""What can be known to go wrong before anything is stored or started: all of it at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import urllib3

from stockpot.api.complaints import Complaint
from stockpot.api.reading import Manifests
from stockpot.api.v1alpha1 import DataShard, Soup
from stockpot.core.manifest_notes import crosscheck, notes
from stockpot.errors import ExitCode
from stockpot.local.environment import FolderEnvironment, with_told
from stockpot.local.machine import (
    Fault,
    ServerView,
    folder_faults,
    key_faults,
    key_notes,
    port_faults,
    space_faults,
)
from stockpot.local.processes import Process
from stockpot.local.servers import ProcessServers
from stockpot.local.session import Session, utc_now
from stockpot.local.sources import SourceCheck
from stockpot.reconcile.extensions import weighting_complaints
from stockpot.reconcile.ports import SoupKey


@dataclass(frozen=True)
class Preflight:
    """What was found before anything was stored."""

    faults: tuple[Fault, ...]
    notes: tuple[Complaint, ...]
    """What is not wrong, and not used as it stands."""


def preflight(
    session: Session,
    read: Manifests,
    claims: Mapping[str, Path],
    port: int | None,
    *,
    carries_out: bool,
) -> Preflight:
    """Look at manifests and machine together.

    Args:
        session: The folder; nothing in it is changed.
        read: What is to be applied, with what is wrong with it by itself.
        claims: Folders that stand for claims, as told now.
        port: Where to serve, as told now; None: nothing was told.
        carries_out: Whether servers are started.
    """
    layout = session.layout
    places = with_told(layout, claims, port)
    surroundings = FolderEnvironment(layout, places)
    sources = SourceCheck(read.manifests, session.objects, surroundings, claims)
    soups, untrained = _concerned(session, read)
    complaints = (
        *read.complaints,
        *crosscheck(read.manifests),
        *weighting_complaints(read.manifests),
    )
    faults = [Fault(complaint, ExitCode.INVALID) for complaint in complaints]
    faults += sources.faults()
    faults += folder_faults(layout)
    faults += key_faults(layout)
    faults += space_faults(layout, surroundings, soups.values(), untrained)
    if carries_out:
        servers = _servers(session, read)
        faults += port_faults(servers, places.port, is_told=port is not None)
    return Preflight(
        tuple(faults),
        (
            *read.notes,
            *notes(read.manifests, utc_now(), stored=soups),
            *sources.notes(),
            *key_notes(layout),
        ),
    )


def _concerned(session: Session, read: Manifests) -> tuple[dict[SoupKey, Soup], list[DataShard]]:
    """Find the soups that are applied or that shards name, and the shards that are not trained."""
    soups = {
        SoupKey(thing.metadata.namespace, thing.metadata.name): thing
        for thing in read.objects
        if isinstance(thing, Soup)
    }
    untrained = []
    for thing in read.objects:
        if not isinstance(thing, DataShard):
            continue
        stored = session.objects.find(thing)
        if not (stored and stored.status.ingredient):
            untrained.append(thing)
        key = SoupKey(thing.metadata.namespace, thing.spec.soup_ref.name)
        if key not in soups and (soup := session.objects.read(Soup, *key)):
            soups[key] = soup
    return soups, untrained


def _servers(session: Session, read: Manifests) -> list[ServerView]:
    """See the server of every soup that is to be served, stored ones too."""
    wanted = {
        key: soup
        for key in session.objects.soup_keys()
        if (soup := session.objects.read(Soup, *key)) and not soup.metadata.deletion_timestamp
    }
    for thing in read.objects:
        if isinstance(thing, Soup):
            wanted[SoupKey(thing.metadata.namespace, thing.metadata.name)] = thing
    views = []
    for key, soup in sorted(wanted.items(), key=lambda item: item[0]):
        # Not the session's own: it would keep the port that was told before.
        servers = ProcessServers(Process(session.layout.server(*key)), port=0)
        endpoint = servers.endpoint if servers.process.is_running else None
        port = urllib3.util.parse_url(endpoint.url).port if endpoint else None
        if soup.spec.serving.replicas or servers.process.is_running:
            views.append(ServerView(key.name, servers.process.is_running, port))
    return views
