"""What the admin declared when Stockpot was installed: the operator's one file of settings.

The chart writes it; nothing in it is a secret, only names of Secrets. Defaults live in the
chart's values, so that what an admin reads there is what counts.
"""

from pathlib import Path
from typing import Any, Literal

import pydantic
import yaml
from pydantic import Field

from stockpot.api.model import Model
from stockpot.errors import Refused

PATH = Path("/etc/stockpot/settings.yaml")
"""Where the chart mounts it."""


class ReleaseSettings(Model):
    """The Helm release that the operator belongs to."""

    name: str
    namespace: str
    """Where the operator runs, and every purge and every signing with it."""
    binding: str = ""
    """The RoleBinding by which it works in each workload namespace. Empty: its rights are not of
    the namespace, and outlive it."""


class Images(Model):
    """What the pods run."""

    workload: str
    """With torch: train, merge, evaluate, serve."""
    unlearn: str
    """Without: purge and sign."""
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()


class Credentials(Model):
    """Secrets with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."""

    workload: str
    """In every workload namespace: may read and write."""
    unlearn: str
    """In the release's namespace: may delete, too."""


class Store(Model):
    """An object store, under the name by which soups choose it."""

    url: str
    """`s3://bucket/prefix`."""
    endpoint: str
    """`http://host:port` or `https://host`."""
    credentials: Credentials


class ServiceAccounts(Model):
    """Whom pods run as. None of them has a token."""

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
    """What the admin adds to every workload's pod. No manifest of a user can."""

    env: tuple[dict[str, Any], ...] = ()
    volumes: tuple[dict[str, Any], ...] = ()
    volume_mounts: tuple[dict[str, Any], ...] = ()
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: tuple[dict[str, Any], ...] = ()
    runtime_class_name: str = ""
    resources: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """For each verb (train, merge, evaluate, serve, purge, sign) a ResourceRequirements."""


class OperatorSettings(Model):
    """All of it."""

    release: ReleaseSettings
    workload_namespaces: tuple[str, ...] = Field(min_length=1)
    images: Images
    stores: dict[str, Store]
    service_accounts: ServiceAccounts
    signing_key: SigningKey
    pods: Pods = Pods()


def read_settings(path: Path) -> OperatorSettings:
    """Read the file.

    Raises:
        Refused: It is not there, or not what this version knows.
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
        said = error.errors()[0] if isinstance(error, pydantic.ValidationError) else None
        where = ".".join(str(part) for part in said["loc"]) if said else ""
        why = f"{where}: {said['msg']}" if said else str(error)
        raise Refused(
            f"{origin} is no settings file of this version: {why}",
            help="install the chart and the image of one version",
        ) from error
