"""The chart's check before an upgrade: no workload namespace is dropped while shards live there.

The operator's settings on the cluster still have the list of before. Where charts are rendered
without asking the cluster (Argo CD), nothing in a template could know it.
`python -m stockpot.cluster.chart.upgrade_check --settings FILE NAMESPACE…`
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.credentials import connect
from stockpot.cluster.apiserver.resources import NAMESPACES
from stockpot.cluster.apiserver.settings import PATH
from stockpot.cluster.chart.held_objects import DELETE_ALL, held_objects, shown
from stockpot.errors import ExitCode, Refused, StockpotError, Waiting
from stockpot.extras import extra_named


def check_upgrade(
    client: Client, before: Sequence[str], after: Sequence[str], *, creates: bool
) -> list[str]:
    """Check the change of the workload namespaces.

    Args:
        client: The API server.
        before: `workloadNamespaces` of the release that is installed.
        after: Those of the upgrade.
        creates: Whether the chart creates namespaces that do not exist.

    Returns:
        Notes for the admin: what goes on all the same.

    Raises:
        Refused: A namespace of the upgrade does not exist, or is being deleted.
        Waiting: A namespace is dropped while objects in it need the operator.
    """
    for name in after:
        live = client.find(NAMESPACES, None, name)
        if live is None and not creates:
            raise Refused(
                f"workloadNamespaces names {name}, and there is no such namespace",
                help=f"kubectl create namespace {name}, or remove it from workloadNamespaces",
            )
        if live is not None and "deletionTimestamp" in live["metadata"]:
            raise Refused(
                f"workloadNamespaces names {name}, which is being deleted: the API server takes no "
                "new object in it",
                help="remove it from workloadNamespaces; what is in it is unlearned all the same, "
                "and the operator watches it until it is gone",
            )
    held, notes = [], []
    for name in sorted(set(before) - set(after)):
        live = client.find(NAMESPACES, None, name)
        if live is None:
            continue
        if "deletionTimestamp" in live["metadata"]:
            notes.append(f"{name} is being deleted: the operator watches it until it is gone")
            continue
        held += held_objects(client, name)
    if held:
        raise Waiting(
            "workloadNamespaces drops namespaces with objects that need the operator; without it "
            f"their deletion would hang:{shown(held)}",
            help="leave the namespaces in workloadNamespaces; or delete the objects first, which "
            f"waits until they are unlearned: {DELETE_ALL}; with --no-hooks the upgrade drops "
            "them, and the operator goes on there until the last of them is gone",
        )
    return notes


def namespaces_of(settings: Path) -> tuple[str, ...]:
    """Read `workloadNamespaces` of the settings of any version; none before the first install."""
    try:
        known = yaml.safe_load(settings.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ()
    return tuple(map(str, known.get("workloadNamespaces") or ()))


def main() -> None:
    """Check the namespaces in the arguments.

    Raises:
        SystemExit: Always; with NOT_SETTLED if an object blocks.
    """
    parser = argparse.ArgumentParser(prog="python -m stockpot.cluster.chart.upgrade_check")
    parser.add_argument("namespaces", nargs="+", metavar="NAMESPACE")
    parser.add_argument("--settings", type=Path, default=PATH)
    parser.add_argument("--creates", action="store_true")
    chosen = parser.parse_args()
    try:
        with extra_named(parser.prog):
            before = namespaces_of(chosen.settings)
            notes = check_upgrade(connect(), before, chosen.namespaces, creates=chosen.creates)
    except StockpotError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    sys.stdout.writelines(f"note: {note}\n" for note in notes)
    sys.exit(ExitCode.OK)


if __name__ == "__main__":
    main()
