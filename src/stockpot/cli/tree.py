"""`stockpot tree`: what a soup is made of, who serves it, and what was forgotten."""

from pathlib import Path

import click
from rich.text import Text
from rich.tree import Tree

from stockpot.api.conditions import ConditionType, find
from stockpot.api.v1alpha1 import DataShard
from stockpot.cli import cluster
from stockpot.cli.terminal import console
from stockpot.core.digests import Digest, short
from stockpot.kube.snapshot import SoupSnapshot, take_snapshots


@click.command()
@cluster.options
def tree(
    soup: str, namespace: str, context: str, kubeconfig: Path | None, release_namespace: str
) -> None:
    """Show what soups on a cluster are made of, and who serves them.

    SOUP names one; without it, all of the namespace are shown.
    """
    client = cluster.client_of(context, kubeconfig)
    where = cluster.namespace_of(namespace, context, kubeconfig)
    for snapshot in take_snapshots(client, where, soup, release_namespace):
        console(highlight=False).print(tree_of(snapshot))


def tree_of(snapshot: SoupSnapshot) -> Tree:
    """Draw one soup."""
    soup, world = snapshot.soup, snapshot.world
    ready = find(soup.status.conditions, ConditionType.READY)
    top = Tree(_line("soup", soup.metadata.name, ready.reason if ready else "not seen yet"))
    current = soup.status.current_revision
    shards = top.add(Text(f"shards ({len(snapshot.objects.shards)})", style="bold"))
    for shard in snapshot.objects.shards:
        shards.add(_shard(shard))
    revisions = top.add(Text(f"revisions ({len(snapshot.objects.revisions)})", style="bold"))
    for revision in snapshot.objects.revisions:
        spec = revision.spec
        of = ", ".join(part.shard.name for part in spec.parts) or "the base"
        serves = current is not None and current.name == revision.metadata.name
        weights = short(Digest(spec.weights_digest))
        told = f"{weights} of {of}" + (
            f" · serves as {current.number}" if serves and current else ""
        )
        revisions.add(_line("", revision.metadata.name, told))
    servers = top.add(Text(f"servers ({len(world.servers)} of {world.replicas})", style="bold"))
    for server in world.servers:
        if not server.answers:
            servers.add(_line("", server.name, "does not answer"))
            continue
        serving = short(server.serving) if server.serving else "nothing"
        servers.add(_line("", server.name, f"serves {serving}, holds {len(server.holds)}"))
    receipts = top.add(Text(f"receipts ({len(snapshot.objects.receipts)})", style="bold"))
    for receipt in snapshot.objects.receipts:
        said = receipt.spec
        receipts.add(
            _line("", receipt.metadata.name, f"{said.shard.name} · {said.completeness.value}")
        )
    return top


def _shard(shard: DataShard) -> Text:
    status = shard.status
    ready = find(status.conditions, ConditionType.READY)
    told = [ready.reason if ready else "not seen yet"]
    if status.ingredient:
        told.append(f"ingredient {short(Digest(status.ingredient.digest))}")
    if status.records is not None:
        told.append(f"{status.records} records")
    training = status.training
    if training and training.completed_at is None and training.progress_percent is not None:
        told.append(f"{training.progress_percent} %")
    return _line("", shard.metadata.name, " · ".join(told))


def _line(kind: str, name: str, told: str) -> Text:
    return Text.assemble(f"{kind} " if kind else "", (name, "cyan"), "  ", (told, "dim"))
