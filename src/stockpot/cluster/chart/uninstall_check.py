"""The chart's check before an uninstall: no Soup or DataShard still needs the operator.

Only an operator removes our finalizer. Without one, the deletion of such an object would hang for
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
"""Number of objects that the message names; it counts the others."""


def check_uninstall(client: Client, namespaces: Sequence[str]) -> None:
    """Check that no object blocks an uninstall.

    Raises:
        Waiting: There are some; the message names the first ten.
    """
    held = [name for namespace in namespaces for name in _held(client, namespace)]
    if not held:
        return
    shown = "".join(f"\n    {name}" for name in held[:SHOWN])
    more = f"\n    and {len(held) - SHOWN} more" if len(held) > SHOWN else ""
    raise Waiting(
        "Stockpot stays: without it nobody could forget what these were made from, and their "
        f"deletion would hang:{shown}{more}",
        help="kubectl delete shard,soup --all in each namespace waits until they are forgotten; "
        "then uninstall again; to leave them behind on purpose: helm uninstall --no-hooks",
    )


def _held(client: Client, namespace: str) -> list[str]:
    if client.find(NAMESPACES, None, namespace) is None:
        return []  # The Role with which we could list there is gone as well.
    return [
        f"{resource.kind} {namespace}/{thing['metadata']['name']}"
        for resource in (DATA_SHARDS, SOUPS)
        for thing in _all(client, resource, namespace)
        if FINALIZER in thing["metadata"].get("finalizers", ())
    ]


def _all(client: Client, resource: Resource, namespace: str) -> tuple[Json, ...]:
    try:
        return client.list(resource, namespace).items
    except NotFound:
        return ()  # The CustomResourceDefinition is gone, and every object with it.


def main() -> None:
    """Check the namespaces in the arguments; exit with NOT_SETTLED if an object blocks.

    Raises:
        SystemExit: Always.
    """
    try:
        with extra_named("python -m stockpot.cluster.chart.uninstall_check"):
            check_uninstall(connect(), sys.argv[1:])
    except StockpotError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    sys.exit(ExitCode.OK)


if __name__ == "__main__":
    main()
