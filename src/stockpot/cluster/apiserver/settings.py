"""The operator's settings file, which the chart writes from the admin's values.

It contains no secrets, only names of Secrets and the path of a key. Defaults live in the chart's
values, so that the admin reads there what applies.
"""

from pathlib import Path
from typing import Any, Literal

import pydantic
import yaml
from pydantic import Field

from stockpot.api.model import Model
from stockpot.errors import Refused

PATH = Path("/etc/stockpot/settings.yaml")
"""Path at which the chart mounts the file."""


class ReleaseSettings(Model):
    """The Helm release that the operator belongs to."""

    name: str
    namespace: str
    """The namespace of the operator and of every purge and sign run."""
    binding: str = ""
    """The RoleBinding that permits its work in each workload namespace. Empty if its permissions
    do not come from the namespace, and so outlive it."""


class Images(Model):
    """Container images of the workloads."""

    workload: str
    """With torch: train, merge, evaluate, serve."""
    unlearn: str
    """Without torch: purge and sign."""
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()


class Credentials(Model):
    """Secrets with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.

    An empty name is that of an identity which comes with the pod's ServiceAccount.
    """

    workload: str = ""
    """In workload namespaces without a Secret of their own: may read and write."""
    unlearn: str = ""
    """In the release's namespace: may delete as well."""
    namespaces: dict[str, str] = Field(default_factory=dict)
    """Secrets of workload namespaces that have identities of their own, by namespace."""


class Store(Model):
    """An object store, under the name by which soups choose it."""

    url: str
    """`s3://bucket/prefix`."""
    endpoint: str
    """`http://host:port` or `https://host`."""
    credentials: Credentials


class ServiceAccounts(Model):
    """ServiceAccounts of the workloads' pods, which mount no token."""

    workload: str
    """In every workload namespace."""
    unlearn: str
    """In the release's namespace."""


class SigningKey(Model):
    """The key that signs receipts: only signing pods mount it."""

    secret: str
    """A Secret in the release's namespace."""
    key: str = "signing-key.pem"
    """Its entry: an Ed25519 key, PKCS #8 in PEM."""


class Pods(Model):
    """Fields that the admin adds to every workload's pod. Users cannot set them."""

    env: tuple[dict[str, Any], ...] = ()
    volumes: tuple[dict[str, Any], ...] = ()
    volume_mounts: tuple[dict[str, Any], ...] = ()
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: tuple[dict[str, Any], ...] = ()
    runtime_class_name: str = ""
    resources: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """ResourceRequirements for each verb (train, merge, …, compare)."""


class OperatorSettings(Model):
    """The whole settings file."""

    release: ReleaseSettings
    workload_namespaces: tuple[str, ...] = Field(min_length=1)
    images: Images
    stores: dict[str, Store]
    service_accounts: ServiceAccounts
    signing_key: SigningKey
    grant_key: str = ""
    """Path at which the operator has the key that signs grants. Empty: it signs none, and servers
    accept any."""
    pods: Pods = Pods()


def read_settings(path: Path) -> OperatorSettings:
    """Read the settings file.

    Raises:
        Refused: It cannot be read, or it is invalid for this version.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise Refused(
            f"{path} cannot be read: {error.strerror}",
            help="name the operator's settings with --settings, or install the chart",
        ) from error
    return parse_settings(text, str(path))


def parse_settings(text: str, origin: str) -> OperatorSettings:
    """Parse the settings, as the chart writes them.

    Args:
        text: YAML.
        origin: Where the text comes from, for the error message.

    Raises:
        Refused: They are not settings of this version.
    """
    try:
        return OperatorSettings.model_validate(yaml.safe_load(text))
    except (yaml.YAMLError, pydantic.ValidationError) as error:
        first = error.errors()[0] if isinstance(error, pydantic.ValidationError) else None
        field = ".".join(str(part) for part in first["loc"]) if first else ""
        why = f"{field}: {first['msg']}" if first else str(error)
        raise Refused(
            f"{origin} is not a valid settings file of this version: {why}",
            help="install chart and image of the same version",
        ) from error
