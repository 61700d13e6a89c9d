"""A read-only snapshot of a soup on a cluster, for `stockpot plan` and `stockpot tree`.

It is read with the user's own permissions. Servers are called through the API server; without the
permission for that they count as not answering.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pydantic

from stockpot.api.serving import ServerState
from stockpot.api.v1alpha1 import DataShard, Soup, SoupRevision, UnlearningReceipt
from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.errors import Forbidden
from stockpot.cluster.apiserver.labels import COMPONENT, selector_of
from stockpot.cluster.apiserver.objects import Json, labels_on, name_of, uid_of
from stockpot.cluster.apiserver.resources import (
    DATA_SHARDS,
    DEPLOYMENTS,
    JOBS,
    PODS,
    SOUP_REVISIONS,
    SOUPS,
    UNLEARNING_RECEIPTS,
)
from stockpot.cluster.manifests.deployment import (
    ADMIN_PORT,
    deployment_name,
    has_ended,
    server_pods_of,
)
from stockpot.cluster.manifests.job_status import runs_of
from stockpot.core.world import Server, World
from stockpot.errors import Refused, StockpotError
from stockpot.kube.servers import has_started
from stockpot.kube.status_writer import read
from stockpot.reconcile.orders import soup_ref
from stockpot.reconcile.ports import ObservedObjects, ObservedServers
from stockpot.reconcile.views import server_view, world_of


@dataclass(frozen=True)
class SoupSnapshot:
    """One soup with its objects and its world."""

    soup: Soup
    objects: ObservedObjects
    world: World


def take_snapshots(
    client: Client, namespace: str, name: str, release_namespace: str
) -> Iterator[SoupSnapshot]:
    """Yield a snapshot of the soup of that name, or of every soup if the name is empty.

    Raises:
        Refused: There is no such soup.
        StockpotError: The API server did not answer, or refused.
    """
    soups = [read(Soup, thing) for thing in client.list(SOUPS, namespace).items]
    chosen = [soup for soup in soups if name in {"", soup.metadata.name}]
    if not chosen:
        what = f"no Soup {name}" if name else "no Soup"
        raise Refused(
            f"there is {what} in the namespace {namespace}",
            help="name another namespace with -n; kubectl get soup --all-namespaces shows all",
        )
    shards = [read(DataShard, thing) for thing in client.list(DATA_SHARDS, namespace).items]
    revisions = [
        read(SoupRevision, thing) for thing in client.list(SOUP_REVISIONS, namespace).items
    ]
    receipts = [
        read(UnlearningReceipt, thing)
        for thing in client.list(UNLEARNING_RECEIPTS, namespace).items
    ]
    for soup in chosen:
        uid = soup.metadata.uid
        objects = ObservedObjects(
            soup,
            tuple(shard for shard in shards if shard.spec.soup_ref.name == soup.metadata.name),
            tuple(revision for revision in revisions if revision.spec.soup_ref.uid == uid),
            tuple(receipt for receipt in receipts if receipt.spec.soup_ref.uid == uid),
        )
        yield SoupSnapshot(soup, objects, _world(client, soup, objects, release_namespace))


def _world(client: Client, soup: Soup, objects: ObservedObjects, release_namespace: str) -> World:
    jobs: list[Json] = []
    pods: list[Json] = []
    for namespace in dict.fromkeys((soup.metadata.namespace, release_namespace)):
        selector = selector_of(soup.metadata.uid)
        try:
            jobs += client.list(JOBS, namespace, label_selector=selector).items
            pods += client.list(PODS, namespace, label_selector=selector).items
        except Forbidden:
            if namespace == soup.metadata.namespace:
                raise  # A user who may not read the release's namespace sees all the rest.
    servers = [pod for pod in pods if labels_on(pod).get(COMPONENT) == "serve"]
    runs = runs_of(jobs, [pod for pod in pods if pod not in servers])
    deployment = client.find(DEPLOYMENTS, soup.metadata.namespace, deployment_name(soup_ref(soup)))
    replicas = deployment["spec"].get("replicas", 1) if deployment else 0
    by_name = {name_of(pod): pod for pod in servers}
    observed_servers = ObservedServers(
        replicas,
        tuple(
            _server(client, by_name[pod.name])
            for pod in server_pods_of(filter(has_started, servers))
        ),
        ended=frozenset(uid_of(pod) for pod in servers if has_ended(pod)),
    )
    return world_of(soup, objects, runs, observed_servers, datetime.fromtimestamp(time.time(), UTC))


def _server(client: Client, pod: Json) -> Server:
    name, uid, node = name_of(pod), uid_of(pod), pod.get("spec", {}).get("nodeName", "")
    try:
        state = client.with_timeout(5).get_from_pod(
            pod["metadata"]["namespace"], name, ADMIN_PORT, "state"
        )
        return server_view(name, ServerState.model_validate(state), uid, node)
    except (StockpotError, pydantic.ValidationError):
        return Server(name, uid, node, answers=False)
