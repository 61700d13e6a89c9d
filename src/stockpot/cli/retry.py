"""`stockpot retry`: asks the operator to try again what failed for good."""

from pathlib import Path

import click

from stockpot.api.conditions import ConditionType
from stockpot.api.v1alpha1 import RETRY
from stockpot.cli import cluster
from stockpot.cluster.apiserver.errors import NotFound
from stockpot.cluster.apiserver.objects import condition_of
from stockpot.cluster.apiserver.resources import DATA_SHARDS, SOUPS, Resource
from stockpot.errors import ExitCode, Refused

KINDS: dict[str, Resource] = {
    **dict.fromkeys(("shard", "shards", "datashard", "datashards"), DATA_SHARDS),
    **dict.fromkeys(("soup", "soups"), SOUPS),
}


@click.command()
@click.argument("what", metavar="KIND/NAME")
@cluster.connection_options
def retry(what: str, namespace: str, context: str, kubeconfig: Path | None) -> None:
    """Try again what failed for good, of a DataShard or a Soup.

    KIND/NAME is shard/NAME for its training and comparison, or soup/NAME for its merge and
    evaluation. Attempts count anew from now. It sets the annotation stockpot.dev/retry, as
    `kubectl annotate` may do too.
    """
    resource, name = _named(what)
    client = cluster.client_of(context, kubeconfig)
    where = cluster.namespace_of(namespace, context, kubeconfig)
    patch = {"metadata": {"annotations": {RETRY: cluster.now().isoformat(timespec="milliseconds")}}}
    try:
        changed = client.merge_patch(resource, where, name, patch)
    except NotFound:
        raise Refused(
            f"there is no {resource.kind} {name} in the namespace {where}",
            help=f"name another namespace with -n; kubectl get {resource.plural} -A shows all",
        ) from None
    click.echo(f"{resource.kind.lower()}/{name} asked to try again; to follow it:")
    click.echo(f"  kubectl get {resource.plural} {name} -n {where} -w")
    if condition_of(changed, ConditionType.READY):
        cluster.warn(f"{resource.kind} {name} is Ready: nothing of it has failed")


def _named(what: str) -> tuple[Resource, str]:
    kind, slash, name = what.partition("/")
    resource = KINDS.get(kind.lower())
    if resource is None or not slash or not name:
        raise Refused(
            f"{what} names no DataShard or Soup",
            help="write shard/NAME or soup/NAME",
            exit_code=ExitCode.INVALID,
        )
    return resource, name
