"""The operator, with a gate before and after each action: `python3 gated_operator.py run`."""

import sys
from typing import Any

from tests.chaos.cluster.pods.gate import armed, gate

from stockpot.controller.app import run
from stockpot.reconcile import loop

apply = loop.apply


def gated(action: Any, seen: Any, world: Any, ports: Any, now: Any) -> None:
    """Do an action between two gates; after it, what it changed is written first."""
    soup, what = world.soup.name, type(action).__name__
    gate(soup, f"before:{what}")
    apply(action, seen, world, ports, now)
    if armed(soup) == f"after:{what}":
        ports.objects.flush()
        gate(soup, f"after:{what}")


loop.apply = gated
sys.exit(run(sys.argv[1:]))
