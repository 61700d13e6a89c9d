"""What the commands that look at a cluster have in common: which cluster, and which namespace."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.credentials import connect, current_namespace

RELEASE_NAMESPACE = "stockpot-system"

OPTIONS = (
    click.argument("soup", required=False, default="", metavar="[SOUP]"),
    click.option("-n", "--namespace", default="", help="Where the soup is; else the context's."),
    click.option("--context", default="", help="Of the kubeconfig; else its current one."),
    click.option(
        "--kubeconfig",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Else KUBECONFIG, or ~/.kube/config.",
    ),
    click.option(
        "--release-namespace",
        default=lambda: os.environ.get("STOCKPOT_NAMESPACE", RELEASE_NAMESPACE),
        show_default=RELEASE_NAMESPACE,
        help="Where the chart is installed, and purges run.",
    ),
)


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add them to a command."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def client_of(context: str, kubeconfig: Path | None) -> Client:
    """Speak to the cluster that was named."""
    return connect(context=context, kubeconfig=kubeconfig)


def namespace_of(namespace: str, context: str, kubeconfig: Path | None) -> str:
    """The namespace that was named, or else the context's own."""
    return namespace or current_namespace(context=context, kubeconfig=kubeconfig)
