"""What the operator may do, as data: the chart's Roles are made from it, and it uses no more.

No Secrets, no ConfigMaps: the operator reads none. No `*`: what is not here is not done.
"""

from typing import NamedTuple

from stockpot.cluster.apiserver.resources import (
    CUSTOM_RESOURCE_DEFINITIONS,
    DATA_SHARDS,
    DEPLOYMENTS,
    EVENTS,
    JOBS,
    LEASES,
    NAMESPACES,
    NODES,
    PODS,
    ROLE_BINDINGS,
    SERVICES,
    SOUP_REVISIONS,
    SOUPS,
    UNLEARNING_RECEIPTS,
    Resource,
)


class Rule(NamedTuple):
    """One line of a Role."""

    group: str
    resource: str
    """With its subresource, as `soups/status`."""
    verbs: tuple[str, ...]
    is_own: bool = False
    """Only the one object that has the operator's own name."""


SEE = ("get", "list", "watch")


def _rule(resource: Resource, *verbs: str, subresource: str = "") -> Rule:
    plural = resource.plural + (f"/{subresource}" if subresource else "")
    return Rule(resource.group, plural, verbs)


IN_WORKLOAD_NAMESPACE = (
    # Shards and soups are the user's: we write their finalizers and their status.
    _rule(DATA_SHARDS, *SEE, "patch"),
    _rule(DATA_SHARDS, "update", subresource="status"),
    _rule(SOUPS, *SEE, "patch"),
    _rule(SOUPS, "update", subresource="status"),
    _rule(SOUP_REVISIONS, *SEE, "create", "delete"),
    _rule(SOUP_REVISIONS, "update", subresource="status"),
    _rule(UNLEARNING_RECEIPTS, *SEE, "create"),
    _rule(UNLEARNING_RECEIPTS, "update", subresource="status"),
    _rule(JOBS, *SEE, "create", "delete"),
    _rule(DEPLOYMENTS, *SEE, "create", "patch"),
    _rule(SERVICES, *SEE, "create", "patch"),
    _rule(PODS, *SEE),
    _rule(EVENTS, "get", "list", "create", "patch"),
    # By which one release holds the namespace.
    _rule(LEASES, "get", "create", "update"),
    # Its own: it stays in a namespace that is being deleted until all is forgotten there. Of a
    # binding only its finalizers can be changed by somebody who could not make it.
    _rule(ROLE_BINDINGS, "get", "patch")._replace(is_own=True),
    # Whether it is being deleted.
    _rule(NAMESPACES, "get"),
)
"""Of the operator, in each of the namespaces where soups are."""

IN_RELEASE_NAMESPACE = (
    # Purge and sign run here, and nowhere else.
    _rule(JOBS, *SEE, "create", "delete"),
    _rule(PODS, *SEE),
    _rule(EVENTS, "get", "list"),
    # By which one operator leads.
    _rule(LEASES, "get", "create", "update"),
)
"""Of the operator, in its own namespace."""

IN_CLUSTER = (
    # Whether the CRDs are as new as the operator.
    _rule(CUSTOM_RESOURCE_DEFINITIONS, "get"),
    # Whether anything can still run where a server was whose end nobody saw.
    _rule(NODES, "get"),
)
"""Of the operator: what has no namespace."""
