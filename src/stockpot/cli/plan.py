"""`stockpot plan`: prints what each shard still lacks, and the operator's next actions."""

from pathlib import Path

import click

from stockpot.cli import cluster
from stockpot.core.plan import check
from stockpot.core.plan import plan as plan_of
from stockpot.core.render import render


@click.command()
@cluster.options
def plan(
    soup: str, namespace: str, context: str, kubeconfig: Path | None, release_namespace: str
) -> None:
    """Show what each shard on a cluster lacks, and what the operator does next.

    Changes nothing. SOUP names one soup; without it, all soups of the namespace are shown.
    """
    where = (namespace, context, kubeconfig, release_namespace)
    for snapshot in cluster.snapshots(soup, *where):
        now = cluster.now()
        assessment = check(snapshot.world, now)
        click.echo(render(assessment, plan_of(assessment, now)), nl=False)
