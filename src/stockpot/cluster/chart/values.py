"""The chart's values as models, from which `values.yaml`, schema and reference are generated.

A field's docstring is the comment that the admin reads: it says what the field does and what to
write. Every field has a default; the templates refuse missing values that cannot have one.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from stockpot.api.model import Model
from stockpot.cluster.apiserver.settings import Pods

DnsLabel = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
Port = Annotated[int, Field(ge=1, le=65535)]
Objects = tuple[dict[str, Any], ...]
Resources = dict[str, dict[str, Any]]


class Image(Model):
    """One image, without its registry."""

    repository: str
    tag: str = ""
    """Empty: the chart's appVersion."""
    digest: Annotated[str, Field(pattern=r"^(sha256:[0-9a-f]{64})?$")] = ""
    """`sha256:…` pins the image; it takes precedence over the tag."""


class ImageValues(Model):
    """Container images. Pin both by digest."""

    registry: str = ""
    """Prefix of both repositories: `registry.example.com/team`."""
    slim: Image = Image(repository="stockpot")
    """Without torch: the operator, purge, sign, and the check before an uninstall."""
    workload: Image = Image(repository="stockpot-trainer")
    """With torch: train, merge, evaluate, serve."""
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()
    """Names of Secrets, which must exist in the release's and in every workload namespace."""


class Identity(Model):
    """An identity of the store: an existing Secret, or both keys."""

    existing_secret: str = ""
    """A Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."""
    access_key: str = ""
    """With secretKey, instead of existingSecret: the chart creates the Secret."""
    secret_key: str = ""


class Identities(Model):
    """Identities of workloads, which cannot delete, and of purge, sign, find and compare."""

    namespaces: dict[DnsLabel, Identity] = Field(
        default={}, examples=[{"studio": {"existingSecret": "store-studio"}}]
    )
    """An identity for each workload namespace, which its store's policy limits to the namespace's
    prefix: docs/reference/store-access.md. Its Secret is in that namespace only."""
    workload: Identity = Identity()
    """Reads and writes, for workload namespaces without an identity above. Its Secret is in each
    of them, and with it a workload reaches the artefacts of all others: use it for one team."""
    unlearn: Identity = Identity()
    """Deletes as well. Its Secret is in the release's namespace only."""


class AccountValues(Model):
    """A ServiceAccount of workloads."""

    annotations: dict[str, str] = Field(
        default={},
        examples=[{"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/studio"}],
    )
    """Annotations that give its pods a cloud identity, such as IAM roles for service accounts. A
    store then needs no credentials for it."""


class AccountsValues(Model):
    """ServiceAccounts of the workloads' pods. They mount no token of the API server."""

    namespaces: dict[DnsLabel, AccountValues] = Field(default={})
    """That of one workload namespace."""
    workload: AccountValues = AccountValues()
    """That of workload namespaces that are not named above."""
    unlearn: AccountValues = AccountValues()
    """That of purge, sign, find and compare runs, in the release's namespace."""


class StoreValues(Model):
    """An object store."""

    url: Annotated[str, Field(pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?$")]
    """`s3://bucket` or `s3://bucket/prefix`. The bucket must exist."""
    endpoint: Annotated[str, Field(pattern=r"^https?://[^/]+/?$")]
    """`https://host` or `http://host:port`."""
    credentials: Identities = Identities()


EXAMPLE_STORE = {
    "default": {
        "url": "s3://stockpot/production",
        "endpoint": "https://s3.example.com",
        "credentials": {
            "workload": {"existingSecret": "store-workload"},
            "unlearn": {"existingSecret": "store-unlearn"},
        },
    }
}


AllowedPrefix = Annotated[str, Field(pattern=r"^(\*|[^/*\s][^*\n\r]*/)$", max_length=512)]
AllowedClaim = Annotated[str, Field(pattern=r"^(\*|[a-z0-9]([-a-z0-9.]*[a-z0-9])?)$")]


class AllowedSources(Model):
    """What DataShards and Soups of one namespace may name. `*` allows all."""

    data: tuple[AllowedPrefix, ...] = ()
    """Prefixes of the store for `source` of DataShards, each with a slash at its end."""
    bases: tuple[AllowedPrefix, ...] = ()
    """Prefixes for `base` of Soups."""
    evaluation: tuple[AllowedPrefix, ...] = ()
    """Prefixes for `evaluation.source` of Soups."""
    claims: tuple[AllowedClaim, ...] = ()
    """PersistentVolumeClaims for any of the three."""


EXAMPLE_SOURCES = {
    "studio": {"data": ["studio/data/"], "bases": ["bases/"], "evaluation": ["studio/held-out/"]}
}


class SigningKeyValues(Model):
    """The key that signs receipts. Only signing pods mount it."""

    existing_secret: str = ""
    """A Secret in the release's namespace. Empty: the chart creates a key once, and keeps it."""
    key: str = "signing-key.pem"
    """Its entry: an Ed25519 key, PKCS #8 in PEM."""


class GrantKeyValues(Model):
    """The key that signs grants, which say what servers serve. Only the operator mounts it."""

    existing_secret: str = ""
    """A Secret in the release's namespace. Empty: the chart creates a key once, and keeps it."""
    key: str = "grant-key.pem"
    """Its entry: an Ed25519 key, PKCS #8 in PEM. While another key replaces it, the entry
    `previous-grant-key.pem` has the old one."""


class OperatorValues(Model):
    """The operator's Deployment."""

    replicas: Annotated[int, Field(ge=0, le=5)] = 2
    """One leads; the others stand by with a warm cache."""
    command: Annotated[tuple[str, ...], Field(min_length=1)] = (
        *("python3", "-m", "stockpot.controller", "run"),
    )
    env: Objects = ()
    """Additional environment variables of the operator and of the check before an uninstall."""
    volumes: Objects = ()
    """Additional volumes of both."""
    volume_mounts: Objects = ()
    """Mounts of the additional volumes."""
    resources: Resources = Field(
        default={
            "requests": {"cpu": "100m", "memory": "160Mi"},
            "limits": {"memory": "512Mi"},
        }
    )
    """1,000 shards take about 130 MB, 10,000 shards with 10,000 receipts about 260 MB."""
    node_selector: dict[str, str] = Field(default={})
    tolerations: Objects = ()
    priority_class_name: str = ""


class NetworkPolicyValues(Model):
    """Ingress to workload pods. Needs a network plugin that enforces NetworkPolicies."""

    enabled: bool = True
    """Only the operator reaches admin (8081), progress (8082) and metrics (8083); runs have no
    other ingress."""
    serve_from: Objects = ()
    """NetworkPolicyPeers that may request images from servers (8080). Empty: all."""
    metrics_from: Objects = ()
    """NetworkPolicyPeers that may scrape metrics: servers' (8083), and runs' progress (8082). None
    of them reaches 8081, where servers take grants."""


class ServiceMonitorValues(Model):
    """A ServiceMonitor for the operator and a PodMonitor for workloads (Prometheus operator)."""

    enabled: bool = False
    labels: dict[str, str] = Field(default={})
    """Labels by which your Prometheus selects monitors."""
    interval: Annotated[str, Field(pattern=r"^[0-9]+(ms|s|m)$")] = "15s"


class DashboardValues(Model):
    """The dashboard *Soup quality*, in a ConfigMap that Grafana's sidecar finds."""

    enabled: bool = True
    labels: dict[str, str] = Field(default={"grafana_dashboard": "1"})


class MetricsValues(Model):
    """Metrics and dashboard."""

    annotations: bool = True
    """Set the annotations prometheus.io/scrape, port and path on the operator's pods."""
    service_monitor: ServiceMonitorValues = ServiceMonitorValues()
    dashboard: DashboardValues = DashboardValues()


class CrdValues(Model):
    """The CustomResourceDefinitions. An uninstall keeps them, and with them every object."""

    install: bool = True
    """Set it to false if `crds/` is applied in another way."""


class RbacValues(Model):
    """Permissions of users."""

    aggregate: bool = True
    """Extend the cluster's roles admin, edit and view to our kinds (aggregated ClusterRoles)."""


class Values(Model):
    """All values of the chart."""

    workload_namespaces: tuple[DnsLabel, ...] = Field(default=(), examples=[["studio"]])
    """Namespaces of Soups and DataShards, and of their workloads. Name at least one."""
    create_namespaces: bool = False
    """Create them, with the Pod Security level `restricted`; an uninstall keeps them."""
    images: ImageValues = ImageValues()
    stores: dict[DnsLabel, StoreValues] = Field(default={}, examples=[EXAMPLE_STORE])
    """Object stores, by the names with which Soups select them. A Soup without a store name uses
    the store `default`."""
    service_accounts: AccountsValues = AccountsValues()
    allowed_sources: dict[DnsLabel, AllowedSources] = Field(default={}, examples=[EXAMPLE_SOURCES])
    """By workload namespace. Empty: every namespace may name all sources. Otherwise name every
    workload namespace: the API server refuses Soups and DataShards that name anything else."""
    signing_key: SigningKeyValues = SigningKeyValues()
    grant_key: GrantKeyValues = GrantKeyValues()
    operator: OperatorValues = OperatorValues()
    pods: Pods = Pods(
        resources={
            "train": {"requests": {"cpu": "100m", "memory": "256Mi"}},
            "merge": {"requests": {"cpu": "100m", "memory": "128Mi"}},
            "evaluate": {"requests": {"cpu": "100m", "memory": "256Mi"}},
            "serve": {"requests": {"cpu": "100m", "memory": "256Mi"}},
            "purge": {"requests": {"cpu": "50m", "memory": "128Mi"}},
            "sign": {"requests": {"cpu": "50m", "memory": "128Mi"}},
            "find": {"requests": {"cpu": "50m", "memory": "128Mi"}},
            "compare": {"requests": {"cpu": "50m", "memory": "128Mi"}},
        }
    )
    network_policy: NetworkPolicyValues = NetworkPolicyValues()
    metrics: MetricsValues = MetricsValues()
    rbac: RbacValues = RbacValues()
    crds: CrdValues = CrdValues()
    global_: dict[str, Any] = Field(default={}, alias="global")
    """Helm's own; the chart does not read it."""
