"""Names, owners, labels and annotations of our workloads, and the selectors that match them."""

from typing import Any

from stockpot.api.runspec import ObjectRef, RunSpec
from stockpot.api.v1alpha1 import API_VERSION
from stockpot.cluster.apiserver.settings import OperatorSettings
from stockpot.core.runs import RunName

NAME = "app.kubernetes.io/name"
MANAGED_BY = "app.kubernetes.io/managed-by"
COMPONENT = "app.kubernetes.io/component"
SOUP = "stockpot.dev/soup"
SOUP_UID = "stockpot.dev/soup-uid"
SOUP_NAMESPACE = "stockpot.dev/soup-namespace"
RUN = "stockpot.dev/run"
KUEUE_QUEUE = "kueue.x-k8s.io/queue-name"
"""The LocalQueue of a Job that Kueue admits: set by an admin's webhook, never by us."""
SHARD = "stockpot.dev/shard"
SHARD_UID = "stockpot.dev/shard-uid"
"""The shard that a run is about, if it is about one."""
SHARD_UIDS = "stockpot.dev/shard-uids"
"""Annotation of a Job: the UIDs of all shards that it is about, as a JSON list."""

LINEAGE = "stockpot.dev/lineage"
"""Annotation of a Job: what it may write, as a JSON list of [shard uid, training key]."""
RUN_SPEC = "stockpot.dev/run-spec"
"""Annotation of a pod: what it is told, as JSON."""
TEMPLATE = "stockpot.dev/template"
"""Annotation of a pod: the digest of the template that the chart's values and its RunSpec made.

An admission webhook may change the template after that; what was asked for stays comparable."""
REPLICAS = "stockpot.dev/replicas"
"""Annotation of a Deployment: how many servers its Soup wants, as last applied."""
SCALED_BACK = "stockpot.dev/scaled-back"
"""Annotation of a Deployment: how many servers somebody else asked it for, which was undone."""

OURS = f"{NAME}=stockpot,{MANAGED_BY}=stockpot"
"""A selector of every workload that an operator of ours made."""


def labels_of(spec: RunSpec) -> dict[str, str]:
    """Return the labels of a workload: its soup, verb, run and shard."""
    labels = {
        NAME: "stockpot",
        MANAGED_BY: "stockpot",
        COMPONENT: spec.verb,
        SOUP: spec.soup.name,
        SOUP_UID: spec.soup.uid,
        SOUP_NAMESPACE: spec.soup.namespace,
    }
    if spec.ends:
        labels[RUN] = spec.name
    if len(spec.about) == 1:
        [shard] = spec.about
        labels |= {SHARD: shard.name, SHARD_UID: shard.uid}
    return labels


def selector_of(soup_uid: str, component: str = "") -> str:
    """Select every workload of a soup, or those of one verb."""
    chosen = f"{OURS},{SOUP_UID}={soup_uid}"
    return f"{chosen},{COMPONENT}={component}" if component else chosen


def workload_namespace(spec: RunSpec, settings: OperatorSettings) -> str:
    """Return a workload's namespace: only in the release's own may runs delete and sign."""
    if spec.deletes:
        return settings.release.namespace
    return spec.soup.namespace


def owner_of(soup: ObjectRef) -> dict[str, Any]:
    """Make a soup the owner: what is its own goes with it. Owners are of the same namespace."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Soup",
        "name": soup.name,
        "uid": soup.uid,
        "controller": True,
    }


def job_name(soup: ObjectRef, run: RunName) -> str:
    """Name a Job: the same run has the same name, so that no run is posted twice.

    Two soups of one name, one after the other or in two namespaces, differ in their UIDs.
    """
    return f"{soup.name[:16].rstrip('-')}-{soup.uid[:5]}-{run}"
