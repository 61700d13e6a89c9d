"""A read-only view of the soups of a namespace, for `stockpot plan` and `stockpot tree`.

Observes with the operator's own ports, so that both see the same. Reads with the person's rights:
requests to pods go through the API server's proxy, and what the person may not read is named.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from stockpot.api.v1alpha1 import Soup
from stockpot.cluster.apiserver.client import Client, Listing, Packed
from stockpot.cluster.apiserver.errors import Forbidden
from stockpot.cluster.apiserver.objects import Json, is_alive, name_of, namespace_of
from stockpot.cluster.apiserver.resources import CONFIG_MAPS, PODS, SOUPS, Resource
from stockpot.cluster.apiserver.settings import (
    Credentials,
    Images,
    OperatorSettings,
    ReleaseSettings,
    ServiceAccounts,
    SigningKey,
    Store,
    parse_settings,
)
from stockpot.core.world import World
from stockpot.errors import Refused, StockpotError
from stockpot.kube.cache import Cache
from stockpot.kube.pod_client import PodClient
from stockpot.kube.pod_events import PodEventReader
from stockpot.kube.status_writer import read
from stockpot.kube.wiring import ClusterAccess, cluster_ports
from stockpot.reconcile.loop import observe
from stockpot.reconcile.ports import ObservedObjects, SoupKey

PROXY_TIMEOUT_S = 5.0
SETTINGS_ENTRY = "settings.yaml"
"""The entry of the chart's ConfigMap."""

Warn = Callable[[str], None]


@dataclass(frozen=True)
class SoupSnapshot:
    """One soup, as the operator would observe it now."""

    soup: Soup
    objects: ObservedObjects
    world: World


class Observer:
    """Observes the soups of one namespace, and writes nothing."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        release_namespace: str,
        now: Callable[[], datetime],
        warn: Warn,
    ) -> None:
        """Prepare to observe.

        Args:
            client: The API server, with the person's credentials.
            namespace: Where the soups are.
            release_namespace: Where the chart is installed, and purges and signings run.
            now: The clock.
            warn: Called with a message about each thing that cannot be read.
        """
        optional = {release_namespace} - {namespace}
        self._client = ReadOnlyClient(client, frozenset(optional), warn)
        self._namespace, self._release_namespace = namespace, release_namespace
        self._now, self._warn = now, warn

    def names(self, name: str) -> tuple[str, ...]:
        """List the soups to observe: the named one, or all of the namespace.

        Raises:
            Refused: There is no such soup.
        """
        soups = map(name_of, self._client.list(SOUPS, self._namespace).items)
        chosen = tuple(soup for soup in soups if name in {"", soup})
        if not chosen:
            missing = f"no Soup {name}" if name else "no Soup"
            raise Refused(
                f"there is {missing} in the namespace {self._namespace}",
                help="name another namespace with -n; kubectl get soup --all-namespaces shows all",
            )
        return chosen

    def snapshot(self, name: str) -> SoupSnapshot:
        """Observe one soup as the operator's round does.

        Raises:
            Refused: The soup is gone; or it asks for what makes the operator's round fail, too, as
                a store that is not declared.
            StockpotError: The API server does not answer, or refuses.
        """
        key, cache = SoupKey(self._namespace, name), Cache()
        settings = self._settings or self._placeholder_settings(key)
        events = PodEventReader(self._client)
        pods = ProxiedPodClient(self._client.with_timeout(PROXY_TIMEOUT_S), cache)
        access = ClusterAccess(self._client, cache, settings, _discard, pods, events, self._now)
        ports = cluster_ports(access, key)
        try:
            objects, world = observe(ports, fresh=True)
        finally:
            pods.close()
        if objects.soup is None or world is None:
            raise Refused(
                f"Soup {name} in the namespace {self._namespace} was deleted meanwhile",
                help="kubectl get soup shows those that are there",
            )
        if self._settings is None:
            # Nothing to compare with: assume no drift.
            runs = tuple(replace(run, is_outdated=False) for run in world.runs)
            world = replace(world, is_as_declared=True, runs=runs)
        return SoupSnapshot(objects.soup, objects, world)

    @cached_property
    def _settings(self) -> OperatorSettings | None:
        """The operator's settings, from the chart's ConfigMap; None where it cannot be read."""
        where = self._release_namespace
        maps = self._client.list(
            CONFIG_MAPS, where, label_selector="app.kubernetes.io/name=stockpot"
        ).items
        for config_map in maps:
            if SETTINGS_ENTRY in (data := config_map.get("data") or {}):
                return parse_settings(data[SETTINGS_ENTRY], f"ConfigMap {name_of(config_map)}")
        self._warn(
            f"the operator's settings are not readable in the namespace {where}: whether the "
            "servers' Deployment is as the operator would apply it is not shown; "
            "help: name the chart's namespace with --release-namespace"
        )
        return None

    def _placeholder_settings(self, key: SoupKey) -> OperatorSettings:
        """Stand in for settings that cannot be read; only their namespace is relied on."""
        soup = self._client.find(SOUPS, *key)
        store = read(Soup, soup).spec.store.name if soup else ""
        unknown = Credentials(workload="", unlearn="")
        return OperatorSettings(
            release=ReleaseSettings(name="", namespace=self._release_namespace),
            workload_namespaces=(self._namespace,),
            images=Images(workload="", unlearn=""),
            stores={store: Store(url="", endpoint="", credentials=unknown)},
            service_accounts=ServiceAccounts(workload="", unlearn=""),
            signing_key=SigningKey(secret=""),
        )


class ReadOnlyClient(Client):
    """A client that sends no write, and for which some namespaces may be forbidden.

    It wraps another client and has no connections of its own: requests, timeouts and closing, which
    are all that need them, go to that client.
    """

    def __init__(self, client: Client, optional: frozenset[str], warn: Warn) -> None:
        """Wrap a client.

        Args:
            client: Where the requests go.
            optional: Namespaces whose listings are empty where they are forbidden.
            warn: Called once with each such refusal.
        """
        self._inner, self._optional, self._warn = client, optional, warn
        self.unselectable = client.unselectable
        self._warned: set[str] = set()

    def with_timeout(self, timeout_s: float) -> "ReadOnlyClient":
        """Return a client with another timeout that is read-only as well."""
        inner = self._inner.with_timeout(timeout_s)
        return ReadOnlyClient(inner, self._optional, self._warn_once)

    def close(self) -> None:
        """Close the connections of the wrapped client."""
        self._inner.close()

    def _list(
        self,
        resource: Resource,
        namespace: str | None,
        parameters: Mapping[str, str],
        pack: Callable[[Json], Packed],
    ) -> Listing[Packed]:
        """List objects; nothing where the namespace is optional and the person may not."""
        try:
            return super()._list(resource, namespace, parameters, pack)
        except Forbidden as error:
            if namespace not in self._optional:
                raise
            self._warn_once(error.message)
            return Listing((), "0")

    def _warn_once(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            self._warn(message)

    def _call(self, request: Any, method: str, *rest: Any, **more: Any) -> Json:
        if method != "GET":
            raise AssertionError(f"an observer does not {request}")
        return self._inner._call(request, method, *rest, **more)


class ProxiedPodClient(PodClient):
    """Sends requests to pods through the API server, for a machine outside the pods' network."""

    def __init__(self, client: Client, cache: Cache) -> None:
        super().__init__()
        self._client, self._cache = client, cache

    def fetch(self, url: str, timeout_s: float) -> bytes:
        """Send a GET request to the pod that has the URL's address."""
        del timeout_s  # The client has its own: a proxy takes longer than the pods' network.
        parts = urlsplit(url)
        pod = next(
            (
                pod
                for pod in self._cache.list(PODS)
                if is_alive(pod) and pod["status"].get("podIP") == parts.hostname
            ),
            None,
        )
        if pod is None or parts.port is None:
            raise OSError(f"no pod has the address of {url}")
        path = parts.path.removeprefix("/") + (f"?{parts.query}" if parts.query else "")
        try:
            body = self._client.get_from_pod(namespace_of(pod), name_of(pod), parts.port, path)
        except StockpotError as error:
            raise OSError(error.message) from error
        return json.dumps(body).encode()


def _discard(_: object) -> None:
    """Record no Events: nothing is written."""
