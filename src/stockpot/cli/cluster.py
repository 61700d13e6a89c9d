"""Shared by the commands on a cluster: their options, and reading soups from the API server."""

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

CONNECTION_OPTIONS = (
    click.option(
        "-n", "--namespace", default="", help="Namespace of the soup. Default: that of the context."
    ),
    click.option(
        "--context", default="", help="Context of the kubeconfig. Default: the current one."
    ),
    click.option(
        "--kubeconfig",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Default: KUBECONFIG, or ~/.kube/config.",
    ),
)
OPTIONS = (
    click.argument("soup", required=False, default="", metavar="[SOUP]"),
    *CONNECTION_OPTIONS,
    click.option(
        "--release-namespace",
        default=lambda: os.environ.get("STOCKPOT_NAMESPACE", RELEASE_NAMESPACE),
        show_default=RELEASE_NAMESPACE,
        help="Namespace that the chart is installed in; purges run there.",
    ),
)


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a command that observes soups as the operator does."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def connection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which API server and namespace are meant."""
    for option in reversed(CONNECTION_OPTIONS):
        command = option(command)
    return command


def client_of(context: str, kubeconfig: Path | None) -> Client:
    """Return a client of the API server that the options name."""
    return connect(context=context, kubeconfig=kubeconfig)


def namespace_of(namespace: str, context: str, kubeconfig: Path | None) -> str:
    """Return the given namespace, or else that of the context."""
    return namespace or current_namespace(context=context, kubeconfig=kubeconfig)


def snapshots(
    soup: str, namespace: str, context: str, kubeconfig: Path | None, release_namespace: str
) -> Iterator[SoupSnapshot]:
    """Yield a snapshot of each soup that the command's arguments name.

    Raises:
        StockpotError: A soup cannot be read; raised after the snapshots of the others.
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
    """Return the current time in UTC."""
    return datetime.now(UTC)  # noqa: TID251  A command has no caller that passes the time.


def warn(message: str) -> None:
    """Write a warning to stderr."""
    click.echo(f"warning: {message}", err=True)
