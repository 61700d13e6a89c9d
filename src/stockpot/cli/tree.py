"""`stockpot tree`: prints the shards, revisions, servers and receipts of soups."""

from pathlib import Path

import click
from rich.text import Text
from rich.tree import Tree

from stockpot.api.conditions import Condition, ConditionStatus, ConditionType, find
from stockpot.api.v1alpha1 import DataShard
from stockpot.cli import cluster
from stockpot.cli.terminal import console
from stockpot.core.digests import Digest, short
from stockpot.kube.snapshot import SoupSnapshot

NOT_RECONCILED = "not reconciled yet"


@click.command()
@cluster.options
def tree(
    soup: str, namespace: str, context: str, kubeconfig: Path | None, release_namespace: str
) -> None:
    """Show what each soup on a cluster is made of, and which servers serve it.

    SOUP names one soup; without it, all soups of the namespace are shown.
    """
    where = (namespace, context, kubeconfig, release_namespace)
    for snapshot in cluster.snapshots(soup, *where):
        console(highlight=False).print(tree_of(snapshot))


def tree_of(snapshot: SoupSnapshot) -> Tree:
    """Return the tree of one soup."""
    soup, world, objects = snapshot.soup, snapshot.world, snapshot.objects
    ready = find(soup.status.conditions, ConditionType.READY)
    top = Tree(_line("soup", soup.metadata.name, _state(soup.status.state, ready)))
    current = soup.status.current_revision
    shards = top.add(Text(f"shards ({len(objects.shards)})", style="bold"))
    for shard in objects.shards:
        shards.add(_shard(shard))
    revisions = top.add(Text(f"revisions ({len(objects.revisions)})", style="bold"))
    for revision in objects.revisions:
        spec = revision.spec
        members = ", ".join(part.shard.name for part in spec.parts) or "the base"
        text = f"{short(Digest(spec.weights_digest))} of {members}"
        if current is not None and current.name == revision.metadata.name:
            text += f" · serves as {current.number}"
        revisions.add(_line("", revision.metadata.name, text))
    servers = top.add(Text(f"servers ({len(world.servers)} of {world.replicas})", style="bold"))
    for server in world.servers:
        if not server.answers:
            servers.add(_line("", server.name, "does not answer"))
            continue
        serving = short(server.serving) if server.serving else "nothing"
        servers.add(_line("", server.name, f"serves {serving}, holds {len(server.holds)}"))
    receipts = top.add(Text(f"receipts ({len(objects.receipts)})", style="bold"))
    for receipt in objects.receipts:
        text = f"{receipt.spec.shard.name} · {receipt.spec.completeness.value}"
        receipts.add(_line("", receipt.metadata.name, text))
    return top


def _shard(shard: DataShard) -> Text:
    status = shard.status
    ready = find(status.conditions, ConditionType.READY)
    facts = [_state(status.state, ready)]
    if status.ingredient:
        facts.append(f"ingredient {short(Digest(status.ingredient.digest))}")
    if status.records is not None:
        facts.append(f"{status.records} records")
    training = status.training
    if training and training.completed_at is None and training.progress_percent is not None:
        facts.append(f"{training.progress_percent} %")
    return _line("", shard.metadata.name, " · ".join(facts))


def _state(state: str, ready: Condition | None) -> str:
    """Return the state as `kubectl get` has it, and the reason where it is not Ready."""
    if ready is None:
        return NOT_RECONCILED
    why = "" if ready.status is ConditionStatus.TRUE else ready.reason
    return " · ".join(filter(None, (state, why))) or ready.reason


def _line(kind: str, name: str, text: str) -> Text:
    return Text.assemble(f"{kind} " if kind else "", (name, "cyan"), "  ", (text, "dim"))
