"""What can go wrong, in the words of whoever runs it.

Every error that a person may meet is one of these: a sentence that says what happened and
to what, a `help:` that says what to do, and an exit code that a Job's podFailurePolicy and
a shell script can tell apart. Nothing here imports anything of ours.

    StockpotError
    ├── Refused      bad input: the same again would fail the same; a person must act
    ├── Waiting      not yet: something else has to happen first
    └── Transient    the world's fault: trying again later may work
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """What a process of ours says by how it ends. Documented in docs/reference/exit-codes.md.

    42 to 49 fail a Job at once: the same input would fail the same way again.
    """

    OK = 0
    BUG = 1  # an error that we did not foresee, with a traceback
    USAGE = 2  # wrong arguments
    INVALID = 3  # a manifest that does not say what we understand
    NOT_SETTLED = 4  # objects are stored, but something needs a person: see the conditions
    LOCKED = 5  # another process works on the same folder
    PORT_TAKEN = 6
    STORAGE = 7  # full, unwritable or unreachable storage; trying again may work
    BAD_DATA = 42  # empty, missing, corrupt or without captions
    WRONG_DIGEST = 43  # bytes that are not the ones that were named
    DIVERGED = 44  # a loss that is not a number
    BAD_BASE = 45  # no diffusers folder, or one that brings code
    BAD_WEIGHTS = 46  # an ingredient or revision that was cut short, edited or does not fit
    FORGOTTEN = 47  # a tombstone stands for a shard in the lineage
    BAD_RUN_SPEC = 48  # told to do what this version does not know
    NO_SIGNING_KEY = 49
    INTERRUPTED = 75  # asked to end, and saved what there was; run it again


class StockpotError(Exception):
    """A sentence, what to do about it, and how the process ends."""

    exit_code: ExitCode = ExitCode.BUG

    def __init__(self, message: str, *, help: str = "", exit_code: ExitCode | None = None) -> None:  # noqa: A002
        super().__init__(message)
        self.message = message
        self.help = help
        if exit_code is not None:
            self.exit_code = exit_code

    def __str__(self) -> str:
        return f"{self.message}\n  help: {self.help}" if self.help else self.message


class Refused(StockpotError):
    """Bad input. The same again would fail the same way: a person must act."""

    exit_code = ExitCode.INVALID


class Waiting(StockpotError):
    """Not yet: something else has to happen first."""

    exit_code = ExitCode.NOT_SETTLED


class Transient(StockpotError):
    """The world's fault: trying again later may work."""

    exit_code = ExitCode.STORAGE
