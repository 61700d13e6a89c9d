"""Whether the operator may go: asked by the chart before an uninstall.

Whatever has our finalizer needs an operator to be let go. Without one its deletion would hang for
ever, and its namespace's with it. `python -m stockpot.cluster.chart.uninstall_check NAMESPACE…`
"""

import sys
from collections.abc import Sequence

from stockpot.api.v1alpha1 import FINALIZER
from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.credentials import connect
from stockpot.cluster.apiserver.errors import NotFound
from stockpot.cluster.apiserver.objects import Json
from stockpot.cluster.apiserver.resources import DATA_SHARDS, NAMESPACES, SOUPS, Resource
from stockpot.errors import ExitCode, StockpotError, Waiting
from stockpot.extras import extra_named

SHOWN = 10
"""Objects that are named; of the others there is a count."""


def refuse_leaving(client: Client, namespaces: Sequence[str]) -> None:
    """Say which objects are in the way of an uninstall.

    Raises:
        Waiting: There are some; the message names the first ten.
    """
    held = [one for namespace in namespaces for one in _held(client, namespace)]
    if not held:
        return
    shown = "".join(f"\n    {one}" for one in held[:SHOWN])
    more = f"\n    and {len(held) - SHOWN} more" if len(held) > SHOWN else ""
    raise Waiting(
        "Stockpot stays: without it nobody could forget what these were made from, and their "
        f"deletion would hang:{shown}{more}",
        help="kubectl delete shard,soup --all in each namespace waits until they are forgotten; "
        "then uninstall again; to leave them behind on purpose: helm uninstall --no-hooks",
    )


def _held(client: Client, namespace: str) -> list[str]:
    if client.find(NAMESPACES, None, namespace) is None:
        return []  # And with it the Role by which we could list there.
    return [
        f"{resource.kind} {namespace}/{one['metadata']['name']}"
        for resource in (DATA_SHARDS, SOUPS)
        for one in _all(client, resource, namespace)
        if FINALIZER in one["metadata"].get("finalizers", ())
    ]


def _all(client: Client, resource: Resource, namespace: str) -> tuple[Json, ...]:
    try:
        return client.list(resource, namespace).items
    except NotFound:
        return ()  # The CustomResourceDefinition is gone, and every object with it.


def main() -> None:
    """Ask in the namespaces that are named, and end with NOT_SETTLED where one is in the way.

    Raises:
        SystemExit: Always.
    """
    try:
        with extra_named("python -m stockpot.cluster.chart.uninstall_check"):
            refuse_leaving(connect(), sys.argv[1:])
    except StockpotError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    sys.exit(ExitCode.OK)


if __name__ == "__main__":
    main()
