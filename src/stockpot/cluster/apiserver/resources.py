"""Where kinds of objects live in the Kubernetes API: those that we read or write, and no others."""

from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True)
class Resource:
    """A kind of object, as the API's addresses name it."""

    group: str
    """Empty for the core group."""
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """As objects and owner references say it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def full_name(self) -> str:
        """As RBAC and `kubectl auth can-i` say it: `jobs.batch`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str | None = None, name: str = "", subresource: str = "") -> str:
        """Address an object, or all of a namespace, or all.

        Args:
            namespace: None for all namespaces, and for what has none.
            name: Empty for a collection.
            subresource: `status`, `scale` …
        """
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        within = f"/namespaces/{quote(namespace, safe='')}" if namespace and self.namespaced else ""
        parts = [f"{root}{within}/{self.plural}"]
        parts += [quote(part, safe="") for part in (name, subresource) if part]
        return "/".join(parts)


def _ours(plural: str, kind: str) -> Resource:
    return Resource("stockpot.dev", "v1alpha1", plural, kind)


DATA_SHARDS = _ours("datashards", "DataShard")
SOUPS = _ours("soups", "Soup")
SOUP_REVISIONS = _ours("souprevisions", "SoupRevision")
UNLEARNING_RECEIPTS = _ours("unlearningreceipts", "UnlearningReceipt")
OURS = (DATA_SHARDS, SOUPS, SOUP_REVISIONS, UNLEARNING_RECEIPTS)

JOBS = Resource("batch", "v1", "jobs", "Job")
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment")
PODS = Resource("", "v1", "pods", "Pod")
SERVICES = Resource("", "v1", "services", "Service")
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
