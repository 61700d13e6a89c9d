"""The port `Servers` on a cluster: a Deployment and a Service.

A pod counts as a server from its container's start until the kubelet has confirmed its end: in
between it may hold any weights that it was ever granted.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from stockpot.api.runspec import ServeRun
from stockpot.api.server_reports import Ending
from stockpot.api.v1alpha1 import Soup
from stockpot.authentication.signatures import GrantKind, GrantSigner, Recipient
from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.errors import NamespaceEnding, NotFound
from stockpot.cluster.apiserver.labels import COMPONENT, REPLICAS, SCALED_BACK, selector_of
from stockpot.cluster.apiserver.objects import (
    Json,
    annotations_on,
    container_status,
    labels_on,
    name_of,
    namespace_of,
    uid_of,
)
from stockpot.cluster.apiserver.resources import (
    DEPLOYMENTS,
    POD_DISRUPTION_BUDGETS,
    PODS,
    SERVICES,
)
from stockpot.cluster.apiserver.settings import OperatorSettings
from stockpot.cluster.manifests.deployment import (
    ServerPod,
    deployment_name,
    deployment_of,
    disruption_budget_of,
    grant_keys_of,
    has_ended,
    is_rolled_out,
    scaled_by_others,
    server_pods_of,
    service_name_blocker,
    service_of,
)
from stockpot.cluster.manifests.drift import is_applied
from stockpot.cluster.manifests.startup_blockers import startup_blocker_of
from stockpot.core.revision import Promotion
from stockpot.core.runs import StartupBlocker
from stockpot.core.servers import Server, ServerGrant
from stockpot.kube.cache import ENDED, Cache, jsons
from stockpot.kube.event_recorder import EventMessage, RecordEvents
from stockpot.kube.gone_namespace import refresh
from stockpot.kube.nodes import Nodes
from stockpot.kube.pod_client import PodClient
from stockpot.kube.pod_events import PodEventReader
from stockpot.reconcile.objects.server import server_view
from stockpot.reconcile.ports import Environment, ObservedServers, SoupKey
from stockpot.reconcile.run_specs import serve_run, server_grant, soup_ref


class ClusterServers:
    """The servers of one soup."""

    def __init__(
        self,
        client: Client,
        cache: Cache,
        key: SoupKey,
        settings: OperatorSettings,
        environment: Environment,
        pod_client: PodClient,
        events: PodEventReader,
        now: Callable[[], datetime],
        signer: Callable[[], GrantSigner],
        find_soup: Callable[[], Soup | None],
        record_events: RecordEvents,
    ) -> None:
        self._record_events = record_events
        self._client, self._cache, self._key = client, cache, key
        self._find_soup = find_soup
        self._settings, self._environment = settings, environment
        self._pod_client, self._events, self._now = pod_client, events, now
        self._server_pods: dict[str, ServerPod] = {}
        self._nodes = Nodes(client, now)
        self._signer = signer
        self._refusals: dict[str, str] = {}
        """Why a server took our last grant for another's, by the pod's UID."""

    def ask(self, granted: Sequence[ServerGrant], *, fresh: bool) -> ObservedServers:
        """Return the wanted number of servers, the state of each, and those that have ended."""
        if (soup := self._find_soup()) is None:
            return ObservedServers()
        if fresh:
            self._refresh(soup)
        deployment = self._deployment(soup)
        pods = self._pods(soup)
        self._server_pods = {
            pod.name: pod
            for pod in server_pods_of(filter(has_started, pods))
            if not self._is_out_of_service(pod, fresh)
        }
        uids = {pod.uid for pod in self._server_pods.values()}
        self._refusals = {uid: why for uid, why in self._refusals.items() if uid in uids}
        servers = tuple(self._pod_client.map(self._server, list(self._server_pods.values())))
        replicas = deployment["spec"].get("replicas", 1) if deployment else 0
        endings = {
            grant.uid: how
            for grant in granted
            if (how := self._ending(grant, pods, fresh)) is not None
        }
        return ObservedServers(
            replicas,
            servers,
            ended=frozenset(endings),
            endings=endings,
            is_as_declared=not replicas
            or deployment is None
            or self._is_applied(soup, deployment, replicas),
            is_rolled_out=deployment is None or is_rolled_out(deployment, pods),
            startup_blocker=self._blocker(soup, deployment, pods),
        )

    def _ending(self, server_grant: ServerGrant, pods: list[Json], fresh: bool) -> Ending | None:
        """Return what confirms a server's end: its kubelet or its node; None if it may run."""
        pod = next((pod for pod in pods if uid_of(pod) == server_grant.uid), None)
        if has_ended(pod) if pod else self._cache.last_phase(server_grant.uid) in ENDED:
            return Ending.KUBELET
        if pod and server_grant.name in self._server_pods:
            return None
        if self._nodes.is_out_of_service(server_grant.node, fresh=fresh):
            return Ending.OUT_OF_SERVICE
        if pod is None and self._nodes.has_swept(server_grant.node, server_grant.uid, fresh=fresh):
            return Ending.NODE_HEARD
        return None

    def _is_out_of_service(self, endpoint: ServerPod, fresh: bool) -> bool:
        """Whether the pod's node is declared out of service; read only if the pod is not ready."""
        return not endpoint.ready and self._nodes.is_out_of_service(endpoint.node, fresh=fresh)

    def scale(self, replicas: int, spec: ServeRun | None) -> None:
        """Apply the Deployment with so many replicas, and the Service."""
        soup = self._find_soup()
        if soup is None:
            return
        if spec is None:
            self._scale_alone(soup, replicas)
            return
        if spec.base.digest is None and replicas:
            return  # Without the digest from a run, a server could load another base.
        ref = soup_ref(soup)
        if replicas == 0 and self._deployment(soup) is None:
            return
        desired = deployment_of(ref, spec, replicas, self._settings)
        self._mark_foreign_scale(soup, desired, replicas)
        try:
            self._apply(soup, desired)
            self._apply_service(service_of(ref, spec))
            self._apply_budget(disruption_budget_of(ref, spec))
        except NamespaceEnding:
            return

    def _scale_alone(self, soup: Soup, replicas: int) -> None:
        """Change the Deployment's number of replicas, and nothing else."""
        live = self._deployment(soup)
        if live is None:
            return
        about = {"annotations": {REPLICAS: str(replicas)}}
        patch = {"metadata": about, "spec": {"replicas": replicas}}
        try:
            live = self._client.merge_patch(DEPLOYMENTS, namespace_of(live), name_of(live), patch)
        except NotFound:
            return  # It went with its soup.
        self._cache.put(DEPLOYMENTS, live)

    def prepare(self, server: str, instance_id: str, promotion: Promotion) -> None:
        """Send a grant to be prepared."""
        self._send(GrantKind.PREPARE, server, instance_id, promotion)

    def commit(self, server: str, instance_id: str, promotion: Promotion) -> None:
        """Send a grant to be served."""
        self._send(GrantKind.COMMIT, server, instance_id, promotion)

    @property
    def grant_keys(self) -> tuple[str, ...]:
        """The public keys that the servers' Deployment has."""
        return grant_keys_of(self._deployment(soup)) if (soup := self._find_soup()) else ()

    def _deployment(self, soup: Soup) -> Json | None:
        name = deployment_name(soup_ref(soup))
        return self._cache.get(DEPLOYMENTS, self._key.namespace, name)

    def _pods(self, soup: Soup) -> list[Json]:
        known = self._cache.of_soup(PODS, self._key.namespace, soup.metadata.uid)
        return [pod for pod in jsons(known) if labels_on(pod).get(COMPONENT) == "serve"]

    def _refresh(self, soup: Soup) -> None:
        namespace, uid = self._key.namespace, soup.metadata.uid
        selector = selector_of(uid, "serve")

        def covers(thing: Json) -> bool:
            return labels_on(thing).get(COMPONENT) == "serve"

        for resource in (DEPLOYMENTS, SERVICES, POD_DISRUPTION_BUDGETS, PODS):
            refresh(self._client, self._cache, resource, namespace, selector, covers, soup_uid=uid)

    def _server(self, pod: ServerPod) -> Server:
        state = self._pod_client.server_state(pod.admin_url) if pod.ip else None
        name, uid, node = pod.name, pod.uid, pod.node
        if state is None:
            return Server(name, uid, node, answers=False)
        problem = state.problem or self._refusals.get(uid, "")
        return server_view(name, state.model_copy(update={"problem": problem}), uid, node)

    def _is_applied(self, soup: Soup, live: Json, replicas: int) -> bool:
        spec = serve_run(soup, self._environment)
        if spec.base.digest is None:
            return True
        ref = soup_ref(soup)
        service = self._cache.get(SERVICES, *self._key)
        if service_name_blocker(service) is None and not is_applied(service, service_of(ref, spec)):
            return False
        budget = self._cache.get(POD_DISRUPTION_BUDGETS, self._key.namespace, name_of(live))
        return is_applied(budget, disruption_budget_of(ref, spec)) and is_applied(
            live, deployment_of(ref, spec, replicas, self._settings)
        )

    def _blocker(
        self, soup: Soup, deployment: Json | None, pods: list[Json]
    ) -> StartupBlocker | None:
        if deployment is None:
            return None
        if blocker := service_name_blocker(self._cache.get(SERVICES, *self._key)):
            return blocker
        wanted = deployment["spec"].get("replicas", 1)
        ready = deployment.get("status", {}).get("readyReplicas", 0)
        if ready >= wanted and is_rolled_out(deployment, pods):
            return None
        events = self._events.about((deployment, *pods))
        return startup_blocker_of(deployment, pods, events, self._now())

    def _apply(self, soup: Soup, desired: Json) -> None:
        live = self._deployment(soup)
        if live is None or not is_applied(live, desired):
            self._cache.put(DEPLOYMENTS, self._client.apply(DEPLOYMENTS, desired))

    def _mark_foreign_scale(self, soup: Soup, desired: Json, replicas: int) -> None:
        """Say once that somebody scales the Deployment, whose number of servers is the Soup's."""
        live = self._deployment(soup)
        foreign = scaled_by_others(live, replicas)
        if live is None or foreign is None:
            return
        desired["metadata"]["annotations"][SCALED_BACK] = str(foreign)
        if annotations_on(live).get(SCALED_BACK) == str(foreign):
            return
        name, namespace = soup.metadata.name, soup.metadata.namespace
        message = (
            f"the Deployment {name_of(live)} was scaled to {foreign}, and was set back to "
            f"{replicas}, as the Soup says; help: scale the Soup: kubectl scale soup/{name} -n "
            f"{namespace} --replicas={foreign}. The scaleTargetRef of an autoscaler is the Soup, "
            "and then no manifest sets its spec.serving.replicas"
        )
        self._record_events(
            [
                EventMessage(
                    soup.kind, namespace, name, soup.metadata.uid, "ScaledBack", message, True
                )
            ]
        )

    def _apply_service(self, desired: Json) -> None:
        live = self._cache.get(SERVICES, *self._key)
        if live is None and (live := self._client.find(SERVICES, *self._key)):
            # The watch has only our own Services: another owner's is read only here.
            self._cache.put(SERVICES, live)
        if service_name_blocker(live) is None and not is_applied(live, desired):
            self._cache.put(SERVICES, self._client.apply(SERVICES, desired))

    def _apply_budget(self, desired: Json) -> None:
        live = self._cache.get(POD_DISRUPTION_BUDGETS, namespace_of(desired), name_of(desired))
        if not is_applied(live, desired):
            made = self._client.apply(POD_DISRUPTION_BUDGETS, desired)
            self._cache.put(POD_DISRUPTION_BUDGETS, made)

    def _send(self, kind: GrantKind, server: str, instance_id: str, promotion: Promotion) -> None:
        pod, soup = self._server_pods.get(server), self._find_soup()
        if pod is None or not pod.ip or soup is None:
            return
        grant, recipient = (
            server_grant(instance_id, promotion),
            Recipient(soup.metadata.uid, pod.uid),
        )
        headers = self._signer().headers(grant, kind, recipient)
        self._refusals[pod.uid] = self._pod_client.send_grant(pod.admin_url, kind, grant, headers)


def has_started(pod: Json) -> bool:
    """Whether a pod's container ever ran: before that it can hold no weights."""
    status = container_status(pod)
    if status is None:
        return False
    state = status.get("state", {})
    return bool("running" in state or "terminated" in state or status.get("restartCount", 0) > 0)
