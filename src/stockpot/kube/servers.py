"""Servers as a Deployment: the port `Servers`, on a cluster.

A pod counts as a server from the moment its container began until the kubelet has confirmed its
end: in between it may hold what it was ever granted.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from stockpot.api.runspec import Ending, ServeRun
from stockpot.api.serving import Grant
from stockpot.api.v1alpha1 import Soup
from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.errors import NamespaceEnding
from stockpot.cluster.apiserver.labels import COMPONENT, SOUP_UID, selector_of
from stockpot.cluster.apiserver.objects import Json, container_status, labels_on, uid_of
from stockpot.cluster.apiserver.resources import DEPLOYMENTS, PODS, SERVICES, SOUPS
from stockpot.cluster.apiserver.settings import OperatorSettings
from stockpot.cluster.manifests.deployment import (
    Endpoint,
    deployment_name,
    deployment_of,
    endpoints_of,
    has_ended,
    service_of,
    taken,
)
from stockpot.cluster.manifests.drift import is_as_told
from stockpot.cluster.manifests.startup_blockers import hindrance_of
from stockpot.core.revision import Promotion
from stockpot.core.runs import StartupBlocker
from stockpot.core.servers import Server, ServerGrant
from stockpot.kube.cache import ENDED, Cache
from stockpot.kube.nodes import Nodes
from stockpot.kube.pod_client import PodClient
from stockpot.kube.pod_events import PodEventReader
from stockpot.kube.status_writer import read
from stockpot.reconcile.objects.server import server_view
from stockpot.reconcile.ports import Environment, ObservedServers, SoupKey
from stockpot.reconcile.run_specs import revision_ref, serve_run, soup_ref


class ClusterServers:
    """The servers of one soup."""

    def __init__(
        self,
        client: Client,
        cache: Cache,
        key: SoupKey,
        settings: OperatorSettings,
        surroundings: Environment,
        asking: PodClient,
        happenings: PodEventReader,
        now: Callable[[], datetime],
    ) -> None:
        self._client, self._cache, self._key = client, cache, key
        self._settings, self._surroundings = settings, surroundings
        self._asking, self._happenings, self._now = asking, happenings, now
        self._found: dict[str, Endpoint] = {}
        self._nodes = Nodes(client, now)

    def ask(self, granted: Sequence[ServerGrant], *, fresh: bool) -> ObservedServers:
        """See how many were asked for, what each says of itself, and who has ended."""
        if (soup := self._soup) is None:
            return ObservedServers()
        if fresh:
            self._look(soup)
        deployment = self._deployment(soup)
        pods = self._pods(soup)
        begun = endpoints_of(filter(has_begun, pods))
        self._found = {one.name: one for one in begun if not self._is_out_of_service(one, fresh)}
        servers = tuple(self._asking.each(self._ask, list(self._found.values())))
        replicas = deployment["spec"].get("replicas", 1) if deployment else 0
        endings = {
            one.uid: how for one in granted if (how := self._ending(one, pods, fresh)) is not None
        }
        return ObservedServers(
            replicas,
            servers,
            ended=frozenset(endings),
            endings=endings,
            is_as_told=deployment is None or self._is_as_told(soup, deployment, replicas),
            startup_blocker=self._hindrance(soup, deployment, pods),
        )

    def _ending(self, server_grant: ServerGrant, pods: list[Json], fresh: bool) -> Ending | None:
        """By what its end is known: its kubelet confirmed it, or its node is said to be shut down.

        None: it may run.
        """
        pod = next((pod for pod in pods if uid_of(pod) == server_grant.uid), None)
        if has_ended(pod) if pod else self._cache.last_phase(server_grant.uid) in ENDED:
            return Ending.KUBELET
        if pod and server_grant.name in self._found:
            return None
        if self._nodes.is_out_of_service(server_grant.node, fresh=fresh):
            return Ending.OUT_OF_SERVICE
        if pod is None and self._nodes.has_swept(server_grant.node, server_grant.uid, fresh=fresh):
            return Ending.NODE_HEARD
        return None

    def _is_out_of_service(self, endpoint: Endpoint, fresh: bool) -> bool:
        """Whether its node is said to be shut down; asked only of one that looks dead."""
        return not endpoint.ready and self._nodes.is_out_of_service(endpoint.node, fresh=fresh)

    def scale(self, replicas: int, spec: ServeRun) -> None:
        """Have so many: apply the Deployment and the Service."""
        soup = self._soup
        if soup is None or (spec.base.digest is None and replicas):
            return  # Until a run has said which base it is, a server could be told another one.
        ref = soup_ref(soup)
        if replicas == 0 and self._deployment(soup) is None:
            return
        try:
            self._apply(soup, deployment_of(ref, spec, replicas, self._settings))
            self._apply_service(service_of(ref, spec))
        except NamespaceEnding:
            return

    def prepare(self, server: str, boot: str, promotion: Promotion) -> None:
        """Send a grant to be prepared."""
        self._tell("prepare", server, boot, promotion)

    def commit(self, server: str, boot: str, promotion: Promotion) -> None:
        """Send a grant to be served."""
        self._tell("commit", server, boot, promotion)

    @property
    def _soup(self) -> Soup | None:
        thing = self._cache.get(SOUPS, *self._key)
        return read(Soup, thing) if thing else None

    def _deployment(self, soup: Soup) -> Json | None:
        name = deployment_name(soup_ref(soup))
        return self._cache.get(DEPLOYMENTS, self._key.namespace, name)

    def _pods(self, soup: Soup) -> list[Json]:
        return [
            pod
            for pod in self._cache.list(PODS, self._key.namespace)
            if labels_on(pod).get(SOUP_UID) == soup.metadata.uid
            and labels_on(pod).get(COMPONENT) == "serve"
        ]

    def _look(self, soup: Soup) -> None:
        namespace, uid = self._key.namespace, soup.metadata.uid
        selector = selector_of(uid, "serve")

        def covers(one: Json) -> bool:
            return labels_on(one).get(SOUP_UID) == uid and labels_on(one).get(COMPONENT) == "serve"

        for resource in (DEPLOYMENTS, SERVICES, PODS):
            found = self._client.list(resource, namespace, label_selector=selector)
            self._cache.replace(resource, namespace, found, covers)

    def _ask(self, endpoint: Endpoint) -> Server:
        state = self._asking.state(endpoint.admin_url) if endpoint.ip else None
        name, uid, node = endpoint.name, endpoint.uid, endpoint.node
        if state is None:
            return Server(name, uid, node, answers=False)
        return server_view(name, state, uid, node)

    def _is_as_told(self, soup: Soup, live: Json, replicas: int) -> bool:
        told = serve_run(soup, self._surroundings)
        if told.base.digest is None:
            return True
        ref = soup_ref(soup)
        service = self._cache.get(SERVICES, *self._key)
        if taken(service) is None and not is_as_told(service, service_of(ref, told)):
            return False
        return is_as_told(live, deployment_of(ref, told, replicas, self._settings))

    def _hindrance(
        self, soup: Soup, deployment: Json | None, pods: list[Json]
    ) -> StartupBlocker | None:
        if deployment is None:
            return None
        if found := taken(self._cache.get(SERVICES, *self._key)):
            return found
        wanted = deployment["spec"].get("replicas", 1)
        ready = deployment.get("status", {}).get("readyReplicas", 0)
        if ready >= wanted:
            return None
        told = self._happenings.about((deployment, *pods))
        return hindrance_of(deployment, pods, told, self._now())

    def _apply(self, soup: Soup, told: Json) -> None:
        live = self._deployment(soup)
        if live is None or not is_as_told(live, told):
            self._cache.see(DEPLOYMENTS, self._client.apply(DEPLOYMENTS, told))

    def _apply_service(self, told: Json) -> None:
        live = self._cache.get(SERVICES, *self._key)
        if live is None and (live := self._client.find(SERVICES, *self._key)):
            # The streams bring ours alone: one of somebody else's is seen only here.
            self._cache.see(SERVICES, live)
        if taken(live) is None and not is_as_told(live, told):
            self._cache.see(SERVICES, self._client.apply(SERVICES, told))

    def _tell(self, verb: str, server: str, boot: str, promotion: Promotion) -> None:
        endpoint = self._found.get(server)
        if endpoint is None or not endpoint.ip:
            return
        grant = Grant(
            boot=boot,
            epoch=promotion.epoch,
            number=promotion.number,
            revision=revision_ref(promotion.revision),
        )
        self._asking.tell(endpoint.admin_url, verb, grant)


def has_begun(pod: Json) -> bool:
    """Whether its container ever ran: before that it can hold nothing."""
    status = container_status(pod)
    if status is None:
        return False
    state = status.get("state", {})
    return bool("running" in state or "terminated" in state or status.get("restartCount", 0) > 0)
