"""The operator's RBAC permissions, from which the chart's Roles are generated.

The operator reads no Secrets and no ConfigMaps. There is no `*`: every use is listed here.
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
    POD_DISRUPTION_BUDGETS,
    PODS,
    ROLE_BINDINGS,
    SERVICES,
    SOUP_REVISIONS,
    SOUPS,
    UNLEARNING_DEBTS,
    UNLEARNING_RECEIPTS,
    Resource,
)


class RbacRule(NamedTuple):
    """One rule of a Role."""

    group: str
    resource: str
    """With its subresource, as `soups/status`."""
    verbs: tuple[str, ...]
    is_own: bool = False
    """Only the one object that has the operator's own name."""


SEE = ("get", "list", "watch")


def _rule(resource: Resource, *verbs: str, subresource: str = "") -> RbacRule:
    plural = resource.plural + (f"/{subresource}" if subresource else "")
    return RbacRule(resource.group, plural, verbs)


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
    _rule(POD_DISRUPTION_BUDGETS, *SEE, "create", "patch"),
    _rule(PODS, *SEE),
    _rule(EVENTS, "get", "list", "create", "patch"),
    # One release holds the namespace by its Lease.
    _rule(LEASES, "get", "create", "update"),
    # Its own: it stays in a namespace that is being deleted until all shards are unlearned there.
    # Without the right to create a binding, only its finalizers can be changed.
    _rule(ROLE_BINDINGS, "get", "patch")._replace(is_own=True),
    # Reads whether the namespace is being deleted.
    _rule(NAMESPACES, "get"),
)
"""The operator's rules in each workload namespace."""

IN_RELEASE_NAMESPACE = (
    # Purge and sign runs, which run only here.
    _rule(JOBS, *SEE, "create", "delete"),
    _rule(PODS, *SEE),
    # What is owed of soups that went before they were unlearned.
    _rule(UNLEARNING_DEBTS, *SEE, "create", "patch"),
    _rule(UNLEARNING_DEBTS, "update", subresource="status"),
    _rule(EVENTS, "get", "list", "create", "patch"),
    # Leader election.
    _rule(LEASES, "get", "create", "update"),
)
"""The operator's rules in its own namespace."""

IN_CLUSTER = (
    # Checks that the CRDs are as new as the operator.
    _rule(CUSTOM_RESOURCE_DEFINITIONS, "get"),
    # Checks whether anything can still run on the node of a server whose end was not observed.
    _rule(NODES, "get"),
    # Tells a namespace that is gone from one that it may not read.
    _rule(NAMESPACES, "get"),
)
"""The operator's rules for cluster-scoped objects."""
