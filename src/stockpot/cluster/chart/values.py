"""What an admin may say to the chart. `values.yaml`, its schema and its reference come from here.

A field's docstring is the comment that the admin reads, so it says what the field does and what
to write. Everything has a default; what cannot have one is asked for by the templates, in words.
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
    """`sha256:…` pins the bytes; it counts beside any tag."""


class ImageValues(Model):
    """What the pods run. Pin both by digest."""

    registry: str = ""
    """Put before both repositories: `registry.example.com/team`."""
    slim: Image = Image(repository="stockpot")
    """Without torch: the operator, purge, sign, and the check before an uninstall."""
    workload: Image = Image(repository="stockpot-trainer")
    """With torch: train, merge, evaluate, serve."""
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()
    """Names of Secrets, in every namespace that pulls."""


class Identity(Model):
    """Who the store takes somebody for: a Secret that is there, or both keys."""

    existing_secret: str = ""
    """A Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."""
    access_key: str = ""
    """With secretKey, instead: the chart makes the Secret."""
    secret_key: str = ""


class Identities(Model):
    """Two identities, so that nothing beside the data can delete."""

    workload: Identity = Identity()
    """Reads and writes. Its Secret lies in every workload namespace."""
    unlearn: Identity = Identity()
    """Deletes, too. Its Secret lies in the release's namespace alone."""


class StoreValues(Model):
    """An object store."""

    url: Annotated[str, Field(pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?$")]
    """`s3://bucket` or `s3://bucket/prefix`. The bucket must be there."""
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


class SigningKeyValues(Model):
    """The key that signs receipts. Only signing pods mount it."""

    existing_secret: str = ""
    """A Secret in the release's namespace. Empty: the chart makes a key once, and keeps it."""
    key: str = "signing-key.pem"
    """Its entry: an Ed25519 key, PKCS #8 in PEM."""


class OperatorValues(Model):
    """The operator's Deployment."""

    replicas: Annotated[int, Field(ge=0, le=5)] = 2
    """One acts; the others stand by with a warm cache."""
    command: Annotated[tuple[str, ...], Field(min_length=1)] = (
        *("python3", "-m", "stockpot.controller", "run"),
    )
    env: Objects = ()
    """More environment variables; the check before an uninstall gets them, too."""
    volumes: Objects = ()
    """More volumes, for both."""
    volume_mounts: Objects = ()
    """Where they are mounted."""
    resources: Resources = Field(
        default={
            "requests": {"cpu": "100m", "memory": "128Mi"},
            "limits": {"memory": "512Mi"},
        }
    )
    """10,000 shards take about 350 MB."""
    node_selector: dict[str, str] = Field(default={})
    tolerations: Objects = ()
    priority_class_name: str = ""


class NetworkPolicyValues(Model):
    """Who may reach the pods of workloads. It takes a network plugin that enforces policies."""

    enabled: bool = True
    """Progress (8082) and admin (8081) for the operator alone, and no other way into training."""
    serve_from: Objects = ()
    """NetworkPolicyPeers that may ask servers for pictures (8080). Empty: everybody."""
    metrics_from: Objects = ()
    """NetworkPolicyPeers that may scrape 8081 and 8082. Name Prometheus alone: who reaches 8081
    can also tell a server what to serve."""


class ServiceMonitorValues(Model):
    """Objects of the Prometheus operator: a ServiceMonitor for the operator, a PodMonitor else."""

    enabled: bool = False
    labels: dict[str, str] = Field(default={})
    """What your Prometheus selects monitors by."""
    interval: Annotated[str, Field(pattern=r"^[0-9]+(ms|s|m)$")] = "15s"


class DashboardValues(Model):
    """The dashboard *Soup quality*, in a ConfigMap that Grafana's sidecar finds."""

    enabled: bool = True
    labels: dict[str, str] = Field(default={"grafana_dashboard": "1"})


class MetricsValues(Model):
    """Watching it."""

    annotations: bool = True
    """Put prometheus.io/scrape and its kind on the operator's pods."""
    service_monitor: ServiceMonitorValues = ServiceMonitorValues()
    dashboard: DashboardValues = DashboardValues()


class CrdValues(Model):
    """The CustomResourceDefinitions. They stay at an uninstall, and with them every object."""

    install: bool = True
    """False where somebody else applies `crds/`."""


class RbacValues(Model):
    """Who may do what."""

    aggregate: bool = True
    """Let the cluster's roles admin, edit and view reach our kinds, in their namespaces."""


class Values(Model):
    """All of it."""

    workload_namespaces: tuple[DnsLabel, ...] = Field(default=(), examples=[["studio"]])
    """Where people keep Soups and DataShards, and where their workloads run. Name at least one."""
    create_namespaces: bool = False
    """Make them, under the Pod Security level `restricted`; they stay at an uninstall."""
    images: ImageValues = ImageValues()
    stores: dict[DnsLabel, StoreValues] = Field(default={}, examples=[EXAMPLE_STORE])
    """Object stores, under the names by which Soups choose them. A Soup that says nothing takes
    the one of the name `default`."""
    signing_key: SigningKeyValues = SigningKeyValues()
    operator: OperatorValues = OperatorValues()
    pods: Pods = Pods(
        resources={
            "train": {"requests": {"cpu": "100m", "memory": "256Mi"}},
            "merge": {"requests": {"cpu": "100m", "memory": "128Mi"}},
            "evaluate": {"requests": {"cpu": "100m", "memory": "256Mi"}},
            "serve": {"requests": {"cpu": "100m", "memory": "256Mi"}},
            "purge": {"requests": {"cpu": "50m", "memory": "128Mi"}},
            "sign": {"requests": {"cpu": "50m", "memory": "128Mi"}},
        }
    )
    network_policy: NetworkPolicyValues = NetworkPolicyValues()
    metrics: MetricsValues = MetricsValues()
    rbac: RbacValues = RbacValues()
    crds: CrdValues = CrdValues()
    global_: dict[str, Any] = Field(default={}, alias="global")
    """Helm's own; nothing here reads it."""
