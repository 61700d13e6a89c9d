"""API paths of the kinds of objects that Stockpot reads or writes."""

from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True)
class Resource:
    """A kind of object: group, version and plural of its API path."""

    group: str
    """Empty for the core group."""
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """The `apiVersion` of objects and owner references."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def full_name(self) -> str:
        """The name for RBAC and `kubectl auth can-i`: `jobs.batch`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str | None = None, name: str = "", subresource: str = "") -> str:
        """Return the path of an object, of a namespace's collection, or of all namespaces'.

        Args:
            namespace: None for all namespaces and for cluster-scoped kinds.
            name: Empty for a collection.
            subresource: `status`, `scale` …
        """
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{quote(namespace, safe='')}" if namespace and self.namespaced else ""
        parts = [f"{root}{scope}/{self.plural}"]
        parts += [quote(part, safe="") for part in (name, subresource) if part]
        return "/".join(parts)


def _ours(plural: str, kind: str) -> Resource:
    return Resource("stockpot.dev", "v1alpha1", plural, kind)


DATA_SHARDS = _ours("datashards", "DataShard")
SOUPS = _ours("soups", "Soup")
SOUP_REVISIONS = _ours("souprevisions", "SoupRevision")
UNLEARNING_RECEIPTS = _ours("unlearningreceipts", "UnlearningReceipt")
UNLEARNING_DEBTS = _ours("unlearningdebts", "UnlearningDebt")
OURS = (DATA_SHARDS, SOUPS, SOUP_REVISIONS, UNLEARNING_RECEIPTS, UNLEARNING_DEBTS)

JOBS = Resource("batch", "v1", "jobs", "Job")
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment")
PODS = Resource("", "v1", "pods", "Pod")
SERVICES = Resource("", "v1", "services", "Service")
POD_DISRUPTION_BUDGETS = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
EVENTS = Resource("", "v1", "events", "Event")
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
NODES = Resource("", "v1", "nodes", "Node", namespaced=False)
ROLE_BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
CUSTOM_RESOURCE_DEFINITIONS = Resource(
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
    namespaced=False,
)
