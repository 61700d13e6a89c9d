"""An operator that is killed, as by SIGKILL, before or after it first does a certain thing.

What dies when comes from the environment: DIES=before:RecordReceipt, or after:HoldShard.
"""

import os
import signal
import sys
from typing import Any

from stockpot.controller import deletion_recorder
from stockpot.controller.app import run
from stockpot.reconcile import loop

WHEN, _, WHAT = os.environ["DIES"].partition(":")
apply, note = vars(loop)["apply"], deletion_recorder.DeletionRecorder._note


def crashing_apply(action: Any, objects: Any, world: Any, ports: Any, now: Any) -> None:
    if type(action).__name__ == WHAT and WHEN == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    apply(action, objects, world, ports, now)
    if type(action).__name__ == WHAT:
        # Its own writes may still wait for the end of the round: `during` loses them, `after` not.
        if WHEN == "after":
            ports.objects.flush()
        os.kill(os.getpid(), signal.SIGKILL)


def mortal_note(self: Any, thing: Any) -> None:
    """Mostly a tombstone is written by the watch, before a round comes to it."""
    if (WHEN, WHAT) == ("before", "RecordDeletion"):
        os.kill(os.getpid(), signal.SIGKILL)
    note(self, thing)
    if WHAT == "RecordDeletion":
        os.kill(os.getpid(), signal.SIGKILL)


vars(loop)["apply"] = crashing_apply
deletion_recorder.DeletionRecorder._note = mortal_note  # type: ignore[method-assign]
sys.exit(run(sys.argv[1:]))
