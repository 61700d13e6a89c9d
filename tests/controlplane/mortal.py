"""An operator that is killed, as by SIGKILL, before or after it first does a certain thing.

What dies when comes from the environment: DIES=before:RecordReceipt, or after:Hold.
"""

import os
import signal
import sys
from typing import Any

from stockpot.controller.app import run
from stockpot.reconcile import loop

WHEN, _, WHAT = os.environ["DIES"].partition(":")
apply = loop.apply


def mortal(action: Any, seen: Any, world: Any, ports: Any, now: Any) -> None:
    if type(action).__name__ == WHAT and WHEN == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    apply(action, seen, world, ports, now)
    if type(action).__name__ == WHAT:
        # Its own writes may still wait for the end of the round: `during` loses them, `after` not.
        if WHEN == "after":
            ports.objects.flush()
        os.kill(os.getpid(), signal.SIGKILL)


loop.apply = mortal
sys.exit(run(sys.argv[1:]))
