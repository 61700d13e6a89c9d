"""The operator, with a gate before and after each action: `python3 gated_operator.py run`."""

import sys
from typing import Any

from tests.chaos.cluster.pods.gate import gate, is_armed

from stockpot.controller import deletion_recorder
from stockpot.controller.app import run
from stockpot.reconcile import loop

apply, note = vars(loop)["apply"], deletion_recorder.DeletionRecorder._note


def gated(action: Any, objects: Any, world: Any, ports: Any, now: Any) -> None:
    """Do an action between two gates; after it, what it changed is written first."""
    soup, what = world.soup.name, type(action).__name__
    gate(soup, f"before:{what}")
    apply(action, objects, world, ports, now)
    if is_armed(soup, f"after:{what}"):
        ports.objects.flush()
        gate(soup, f"after:{what}")


def gated_note(self: Any, thing: Any) -> None:
    """Write a deletion down between two gates: mostly this comes before a round's own word."""
    soup = thing["spec"]["soupRef"]["name"]
    gate(soup, "before:RecordDeletion")
    note(self, thing)
    gate(soup, "after:RecordDeletion")


vars(loop)["apply"] = gated
deletion_recorder.DeletionRecorder._note = gated_note  # type: ignore[method-assign]
sys.exit(run(sys.argv[1:]))
