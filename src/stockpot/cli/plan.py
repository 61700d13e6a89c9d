"""`stockpot plan`: what the operator would do next, and what each shard still lacks."""

from datetime import UTC, datetime
from pathlib import Path

import click

from stockpot.cli import cluster
from stockpot.core.plan import check
from stockpot.core.plan import plan as plan_of
from stockpot.core.render import render
from stockpot.kube.snapshot import take_snapshots


@click.command()
@cluster.options
def plan(
    soup: str, namespace: str, context: str, kubeconfig: Path | None, release_namespace: str
) -> None:
    """Say where each shard on a cluster stands, and what comes next.

    Changes nothing. SOUP names one; without it, all of the namespace are shown.
    """
    client = cluster.client_of(context, kubeconfig)
    where = cluster.namespace_of(namespace, context, kubeconfig)
    now = datetime.now(UTC)  # noqa: TID251  Nobody is above us who would tell us the time.
    for snapshot in take_snapshots(client, where, soup, release_namespace):
        findings = check(snapshot.world, now)
        click.echo(render(findings, plan_of(findings, now)), nl=False)
