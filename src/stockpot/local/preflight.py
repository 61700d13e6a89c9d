"""The checks of an apply: manifests, folders and machine, before anything is stored or started."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import urllib3

from stockpot.api.complaints import Complaint
from stockpot.api.reading import Manifests
from stockpot.api.v1alpha1 import DataShard, Soup
from stockpot.core.manifest_notes import crosscheck, notes
from stockpot.errors import ExitCode
from stockpot.local.environment import FolderEnvironment, merged_places
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
    """The result of the checks."""

    faults: tuple[Fault, ...]
    notes: tuple[Complaint, ...]
    """Settings that are valid but ignored or changed."""


def preflight(
    session: Session,
    read: Manifests,
    claims: Mapping[str, Path],
    port: int | None,
    *,
    reconciles: bool,
) -> Preflight:
    """Check manifests and machine together, and report every fault at once.

    Args:
        session: The folder; nothing in it is changed.
        read: The manifests to apply, with the complaints about each by itself.
        claims: The folders of claims, as this command sets them.
        port: The port that this command sets; None if it sets none.
        reconciles: Whether the apply reconciles, and so starts servers.
    """
    layout = session.layout
    places = merged_places(layout, claims, port)
    environment = FolderEnvironment(layout, places)
    sources = SourceCheck(read.manifests, session.objects, environment, claims)
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
    faults += space_faults(layout, environment, soups.values(), untrained)
    if reconciles:
        servers = _servers(session, read)
        faults += port_faults(servers, places.port, is_new=port is not None)
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
    """Return the soups that are applied or named by applied shards, and the untrained shards."""
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
    """Return the server of every soup that should be served, stored soups too."""
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
        # Not the session's own: it would keep the port that was set before.
        servers = ProcessServers(Process(session.layout.server(*key)), port=0)
        endpoint = servers.endpoint if servers.process.is_running else None
        port = urllib3.util.parse_url(endpoint.url).port if endpoint else None
        if soup.spec.serving.replicas or servers.process.is_running:
            views.append(ServerView(key.name, servers.process.is_running, port))
    return views
