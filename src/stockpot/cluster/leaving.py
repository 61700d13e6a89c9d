"""Whether the operator may go: asked by the chart before an uninstall.

A shard with our finalizer needs an operator to be forgotten. Without one its deletion would hang
for ever, and its namespace's with it. `python -m stockpot.cluster.leaving NAMESPACE…`
"""

import sys
from collections.abc import Sequence

from stockpot.api.v1alpha1 import FINALIZER
from stockpot.cluster.answers import NotFound
from stockpot.cluster.client import Client
from stockpot.cluster.credentials import connect
from stockpot.cluster.resources import DATA_SHARDS, NAMESPACES
from stockpot.errors import ExitCode, StockpotError, Waiting

SHOWN = 10
"""Shards that are named; of the others there is a count."""


def refuse_leaving(client: Client, namespaces: Sequence[str]) -> None:
    """Say which shards are in the way of an uninstall.

    Raises:
        Waiting: There are some; the message names the first ten.
    """
    held = [name for namespace in namespaces for name in _held(client, namespace)]
    if not held:
        return
    shown = "".join(f"\n    {name}" for name in held[:SHOWN])
    more = f"\n    and {len(held) - SHOWN} more" if len(held) > SHOWN else ""
    first = held[0].partition("/")[0]
    them = f"{len(held)} DataShards, and their" if len(held) > 1 else "1 DataShard, and its"
    raise Waiting(
        f"Stockpot stays: without it nobody could forget {them} deletion would hang:{shown}{more}",
        help=f"kubectl -n {first} delete shard --all, wait for the receipts, and uninstall again; "
        "to leave them behind on purpose: helm uninstall --no-hooks",
    )


def _held(client: Client, namespace: str) -> list[str]:
    if client.find(NAMESPACES, None, namespace) is None:
        return []  # And with it the Role by which we could list there.
    try:
        shards = client.list(DATA_SHARDS, namespace).items
    except NotFound:
        return []  # The CustomResourceDefinition is gone, and every shard with it.
    return [
        f"{namespace}/{shard['metadata']['name']}"
        for shard in shards
        if FINALIZER in shard["metadata"].get("finalizers", ())
    ]


def main() -> None:
    """Ask in the namespaces that are named, and end with NOT_SETTLED where a shard is there.

    Raises:
        SystemExit: Always.
    """
    try:
        refuse_leaving(connect(), sys.argv[1:])
    except StockpotError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    sys.exit(ExitCode.OK)


if __name__ == "__main__":
    main()
