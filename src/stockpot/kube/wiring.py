"""Builds the ports of one soup on Kubernetes, for the operator and for `stockpot plan`."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from stockpot.api.v1alpha1 import Soup
from stockpot.authentication.signatures import GrantSigner
from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.objects import Json
from stockpot.cluster.apiserver.resources import NAMESPACES, SOUPS
from stockpot.cluster.apiserver.settings import OperatorSettings
from stockpot.kube.cache import Cache
from stockpot.kube.debts import DebtObjects, soup_of_key
from stockpot.kube.environment import ClusterEnvironment
from stockpot.kube.event_recorder import RecordEvents
from stockpot.kube.objects import ClusterObjects
from stockpot.kube.pod_client import PodClient
from stockpot.kube.pod_events import PodEventReader
from stockpot.kube.runs import ClusterRuns
from stockpot.kube.servers import ClusterServers
from stockpot.kube.status_writer import StatusWriter
from stockpot.reconcile.ports import Objects, Ports, SoupKey


@dataclass(frozen=True)
class ClusterAccess:
    """What the ports of every soup share: the API server, pods, the clock, the admin's settings."""

    client: Client
    """The API server."""
    cache: Cache
    """The objects as the watch streams bring them; empty where every read is fresh."""
    settings: OperatorSettings
    """What the admin declared."""
    record_events: RecordEvents
    """Records Events about what a write changed."""
    pods: PodClient
    """Sends requests to servers and training runs."""
    events: PodEventReader
    """Reads the Events about workloads that do not start."""
    now: Callable[[], datetime]
    """The clock."""
    signer: Callable[[], GrantSigner] | None = None
    """Signs grants, with the keys of the moment. None where no grant is sent: the keys that the
    servers' Deployment has are then as good as any."""


def cluster_ports(access: ClusterAccess, key: SoupKey) -> Ports:
    """Build the ports with which the soup of a key is reconciled."""
    cache = access.cache

    def find_soup() -> Soup | None:
        known = cache.find(SOUPS, *key)
        soup = cache.model(known) if known else None
        assert soup is None or isinstance(soup, Soup)
        return soup

    def soup_uid() -> str:
        soup = cache.find(SOUPS, *key)
        return soup.uid if soup else ""

    objects = ClusterObjects(
        access.client, cache, key, access.record_events, access.settings.release.namespace
    )
    return _ports(access, key, objects, find_soup, soup_uid)


def debt_ports(access: ClusterAccess, key: SoupKey) -> Ports:
    """Build the ports with which the debts of a soup that is gone are paid.

    Args:
        access: Its cache has the debts.
        key: The operator's namespace, and what the names of the debts begin with.
    """
    client, cache = access.client, access.cache
    writer = StatusWriter(client, cache, access.record_events)
    objects = DebtObjects(client, cache, key, writer, access.now)
    gone = soup_of_key(cache, key)
    place = SoupKey(gone.metadata.namespace, gone.metadata.name) if gone else key

    def soup_uid() -> str:
        soup = objects.soup()
        return soup.metadata.uid if soup else ""

    return _ports(access, place, objects, objects.soup, soup_uid)


def _ports(
    access: ClusterAccess,
    key: SoupKey,
    objects: Objects,
    find_soup: Callable[[], Soup | None],
    soup_uid: Callable[[], str],
) -> Ports:
    client, cache, settings, signer = access.client, access.cache, access.settings, access.signer
    pods, events, now = access.pods, access.events, access.now

    def store_name() -> str:
        soup = find_soup()
        return soup.spec.store.name if soup else ""

    def grant_keys() -> tuple[str, ...]:
        return signer().public_keys if signer else servers.grant_keys

    def namespace() -> Json | None:
        return client.find(NAMESPACES, None, key.namespace)

    environment = ClusterEnvironment(settings, store_name, grant_keys, namespace)
    servers = ClusterServers(
        client,
        cache,
        key,
        settings,
        environment,
        pods,
        events,
        now,
        signer or GrantSigner,
        find_soup,
        access.record_events,
    )
    return Ports(
        objects=objects,
        runs=ClusterRuns(client, cache, key, settings, pods, events, now, soup_uid),
        servers=servers,
        environment=environment,
        now=now,
    )
