"""Credentials for the Kubernetes API: a pod's ServiceAccount or a user's kubeconfig."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from stockpot.cluster.apiserver.client import TIMEOUT_S, Client
from stockpot.errors import Refused

if TYPE_CHECKING:  # An extra: see `stockpot.extras`.
    from kubernetes.client import Configuration


def connect(
    *, context: str = "", kubeconfig: Path | None = None, timeout_s: float = TIMEOUT_S
) -> Client:
    """Create a client, without calling the API server yet.

    Args:
        context: Context of the kubeconfig; empty selects the current one.
        kubeconfig: None selects a pod's ServiceAccount, or else KUBECONFIG or ~/.kube/config.
        timeout_s: Timeout of one call.

    Raises:
        Refused: There are no usable credentials.
    """
    return Client(read_configuration(context=context, kubeconfig=kubeconfig), timeout_s=timeout_s)


def read_configuration(*, context: str = "", kubeconfig: Path | None = None) -> "Configuration":
    """Read the API server's address and the credentials; see `connect`."""
    from kubernetes.client import Configuration  # noqa: PLC0415
    from kubernetes.config import (  # noqa: PLC0415
        ConfigException,
        load_incluster_config,
        load_kube_config,
    )

    configuration = Configuration()
    in_pod = "KUBERNETES_SERVICE_HOST" in os.environ
    try:
        if in_pod and not context and kubeconfig is None:
            # Reads the token file again each minute, because the kubelet rotates the token.
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            load_kube_config(  # type: ignore[no-untyped-call]
                config_file=str(kubeconfig) if kubeconfig else _default_kubeconfig(),
                context=context or None,
                client_configuration=configuration,
                persist_config=False,
            )
    except (ConfigException, OSError, yaml.YAMLError) as error:
        raise Refused(
            f"no Kubernetes credentials could be read: {error}",
            help="name a kubeconfig with KUBECONFIG, and one of its contexts with --context; "
            "in a pod, mount its ServiceAccount's token",
        ) from error
    return configuration


def _default_kubeconfig() -> str:
    # The package reads the variable when it is imported; a test may set it later.
    return os.environ.get("KUBECONFIG") or "~/.kube/config"


def current_namespace(*, context: str = "", kubeconfig: Path | None = None) -> str:
    """Say which namespace a person's context names; `default` where it names none."""
    from kubernetes.config import ConfigException, list_kube_config_contexts  # noqa: PLC0415

    try:
        contexts, current = list_kube_config_contexts(  # type: ignore[no-untyped-call]
            config_file=str(kubeconfig) if kubeconfig else _default_kubeconfig()
        )
    except (ConfigException, OSError, yaml.YAMLError):
        return "default"
    chosen = next((entry for entry in contexts if entry["name"] == context), current)
    return str((chosen or {}).get("context", {}).get("namespace") or "default")
