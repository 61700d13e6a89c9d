"""What the commands that look at a cluster have in common: which cluster, and which namespace."""

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.credentials import connect, current_namespace
from stockpot.errors import StockpotError
from stockpot.kube.snapshot import Observer, SoupSnapshot

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


def snapshots(
    soup: str, namespace: str, context: str, kubeconfig: Path | None, release_namespace: str
) -> Iterator[SoupSnapshot]:
    """Observe the soups that a command's arguments name, one after another.

    Raises:
        StockpotError: A soup cannot be observed; the other soups come first.
    """
    client = client_of(context, kubeconfig)
    where = namespace_of(namespace, context, kubeconfig)
    observer = Observer(client, where, release_namespace, now, warn)
    failures: list[StockpotError] = []
    for name in observer.names(soup):
        try:
            snapshot = observer.snapshot(name)
        except StockpotError as error:
            failures.append(error)
            warn(f"Soup {name} cannot be shown: {error.message}")
            continue
        yield snapshot
    if failures:
        raise failures[0]


def now() -> datetime:
    """Read the clock."""
    return datetime.now(UTC)  # noqa: TID251  A command has no caller that passes the time.


def warn(message: str) -> None:
    """Write a warning to stderr."""
    click.echo(f"warning: {message}", err=True)
