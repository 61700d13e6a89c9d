"""A soup on a cluster, seen from outside by a person: for `stockpot plan` and `stockpot tree`.

Reads with the person's own rights, and changes nothing. Servers are asked through the API
server; where the person may not, they count as silent.
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
    endpoints_of,
    has_ended,
)
from stockpot.cluster.manifests.job_status import runs_of
from stockpot.core.world import Server, World
from stockpot.errors import Refused, StockpotError
from stockpot.kube.servers import has_begun
from stockpot.kube.status_writer import read
from stockpot.reconcile.ports import ObservedObjects, ObservedServers
from stockpot.reconcile.run_specs import soup_ref
from stockpot.reconcile.views import server_view, world_of


@dataclass(frozen=True)
class SoupSnapshot:
    """One soup as a person sees it."""

    soup: Soup
    seen: ObservedObjects
    world: World


def look(
    client: Client, namespace: str, name: str, release_namespace: str
) -> Iterator[SoupSnapshot]:
    """See the soup of that name, or every one of the namespace where none is named.

    Raises:
        Refused: There is no such soup.
        StockpotError: The API server did not answer, or says no.
    """
    soups = [read(Soup, one) for one in client.list(SOUPS, namespace).items]
    chosen = [one for one in soups if name in {"", one.metadata.name}]
    if not chosen:
        what = f"no Soup {name}" if name else "no Soup"
        raise Refused(
            f"there is {what} in the namespace {namespace}",
            help="name another namespace with -n; kubectl get soup --all-namespaces shows all",
        )
    shards = [read(DataShard, one) for one in client.list(DATA_SHARDS, namespace).items]
    revisions = [read(SoupRevision, one) for one in client.list(SOUP_REVISIONS, namespace).items]
    receipts = [
        read(UnlearningReceipt, one) for one in client.list(UNLEARNING_RECEIPTS, namespace).items
    ]
    for soup in chosen:
        uid = soup.metadata.uid
        seen = ObservedObjects(
            soup,
            tuple(shard for shard in shards if shard.spec.soup_ref.name == soup.metadata.name),
            tuple(revision for revision in revisions if revision.spec.soup_ref.uid == uid),
            tuple(receipt for receipt in receipts if receipt.spec.soup_ref.uid == uid),
        )
        yield SoupSnapshot(soup, seen, _world(client, soup, seen, release_namespace))


def _world(client: Client, soup: Soup, seen: ObservedObjects, release_namespace: str) -> World:
    jobs: list[Json] = []
    pods: list[Json] = []
    for namespace in dict.fromkeys((soup.metadata.namespace, release_namespace)):
        selector = selector_of(soup.metadata.uid)
        try:
            jobs += client.list(JOBS, namespace, label_selector=selector).items
            pods += client.list(PODS, namespace, label_selector=selector).items
        except Forbidden:
            if namespace == soup.metadata.namespace:
                raise  # A person who may not see the release's namespace sees all the rest.
    servers = [pod for pod in pods if labels_on(pod).get(COMPONENT) == "serve"]
    runs = runs_of(jobs, [pod for pod in pods if pod not in servers])
    deployment = client.find(DEPLOYMENTS, soup.metadata.namespace, deployment_name(soup_ref(soup)))
    replicas = deployment["spec"].get("replicas", 1) if deployment else 0
    found = endpoints_of(filter(has_begun, servers))
    by_name = {name_of(pod): pod for pod in servers}
    asked = ObservedServers(
        replicas,
        tuple(_server(client, by_name[one.name]) for one in found),
        ended=frozenset(uid_of(pod) for pod in servers if has_ended(pod)),
    )
    return world_of(soup, seen, runs, asked, datetime.fromtimestamp(time.time(), UTC))


def _server(client: Client, pod: Json) -> Server:
    name, uid, node = name_of(pod), uid_of(pod), pod.get("spec", {}).get("nodeName", "")
    try:
        said = client.within(5).ask_pod(pod["metadata"]["namespace"], name, ADMIN_PORT, "state")
        return server_view(name, ServerState.model_validate(said), uid, node)
    except (StockpotError, pydantic.ValidationError):
        return Server(name, uid, node, answers=False)
