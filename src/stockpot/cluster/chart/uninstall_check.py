"""The chart's check before an uninstall: no object of ours still needs the operator.

Only an operator removes our finalizer. Without one, the deletion of such an object would hang for
ever, and its namespace's with it. `python -m stockpot.cluster.chart.uninstall_check NAMESPACE…`
"""

import argparse
import sys
from collections.abc import Sequence

from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.credentials import connect
from stockpot.cluster.apiserver.pinned_namespaces import PinnedNamespaces
from stockpot.cluster.apiserver.resources import NAMESPACES, UNLEARNING_DEBTS
from stockpot.cluster.chart.held_objects import DELETE_ALL, held_objects, shown
from stockpot.errors import ExitCode, StockpotError, Waiting
from stockpot.extras import extra_named


def check_uninstall(client: Client, namespaces: Sequence[str], release_namespace: str = "") -> None:
    """Check that no object blocks an uninstall.

    Args:
        client: The API server.
        namespaces: The workload namespaces.
        release_namespace: Where the operator is, with what is owed; empty to leave that out.

    Raises:
        Waiting: There are some; the message names the first ten.
    """
    # In a namespace that is gone, the Role with which we could list is gone as well.
    there = [name for name in namespaces if client.find(NAMESPACES, None, name) is not None]
    held = [name for namespace in there for name in held_objects(client, namespace)]
    waiting = f"{DELETE_ALL} in each namespace waits until they are unlearned"
    helps = [f"{waiting}; then uninstall again"]
    if release_namespace:
        debts = held_objects(client, release_namespace, (UNLEARNING_DEBTS,))
        # Their Roles went with the list: the operator alone may look there.
        dropped = [
            f"Namespace {name}, which is not in workloadNamespaces any more"
            for name in sorted(PinnedNamespaces(client, release_namespace).read())
            if name not in namespaces
        ]
        if debts:
            helps.append("kubectl get debts says what an UnlearningDebt waits for")
        held += [*debts, *dropped]
    if not held:
        return
    raise Waiting(
        "Stockpot stays: without it nobody could forget what these were made from, and their "
        f"deletion would hang:{shown(held)}",
        help="; ".join((*helps, "to leave them behind on purpose: helm uninstall --no-hooks")),
    )


def main() -> None:
    """Check the namespaces in the arguments; exit with NOT_SETTLED if an object blocks.

    Raises:
        SystemExit: Always.
    """
    parser = argparse.ArgumentParser(prog="python -m stockpot.cluster.chart.uninstall_check")
    parser.add_argument("namespaces", nargs="*", metavar="NAMESPACE")
    parser.add_argument("--release-namespace", default="")
    chosen = parser.parse_args()
    try:
        with extra_named(parser.prog):
            check_uninstall(connect(), chosen.namespaces, chosen.release_namespace)
    except StockpotError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    sys.exit(ExitCode.OK)


if __name__ == "__main__":
    main()
