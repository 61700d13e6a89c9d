"""What can go wrong, in the words of whoever runs it.

Every error that a person may meet is one of these: a sentence that says what happened and
to what, a `help:` that says what to do, and an exit code that a Job's podFailurePolicy and
a shell script can tell apart. Nothing here imports anything of ours.

    StockpotError
    ├── Refused      bad input: the same again would fail the same; a person must act
    ├── Waiting      not yet: something else has to happen first
    └── Transient    the world's fault: trying again later may work
"""

import re
from enum import IntEnum


class ExitCode(IntEnum):
    """What a process of ours says by how it ends. Documented in docs/reference/exit-codes.md.

    Those of FINAL_EXIT_CODES fail a Job at once: the same input would fail the same way again.
    """

    meaning: str

    def __new__(cls, code: int, meaning: str) -> "ExitCode":
        """Make the member a plain number that carries its sentence."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    OK = 0, "All is as it should be."
    BUG = 1, "An error that we did not foresee, with a traceback."
    USAGE = 2, "Wrong arguments."
    INVALID = 3, "A manifest that does not say what we understand."
    NOT_SETTLED = 4, "Objects are stored, but something needs a person: see the conditions."
    LOCKED = 5, "Another process works on the same folder."
    PORT_TAKEN = 6, "Another process listens on that port."
    STORAGE = 7, "Full, unwritable or unreachable storage; trying again may work."
    NOT_PROVEN = 8, "Nothing that was checked is wrong, but something could not be checked."
    DISPROVEN = 9, "A receipt does not hold: a check failed, and says why."
    BAD_DATA = 42, "Data that is empty, missing, corrupt or without captions."
    WRONG_DIGEST = 43, "Bytes that are not the ones that were named."
    DIVERGED = 44, "A loss that is not a number."
    BAD_BASE = 45, "A base that is no diffusers folder, or one that brings code."
    BAD_WEIGHTS = 46, "An ingredient or revision that was cut short, edited or does not fit."
    FORGOTTEN = 47, "A tombstone stands for a shard in the lineage."
    BAD_RUN_SPEC = 48, "A run was told to do what this version does not know."
    NO_SIGNING_KEY = 49, "There is no usable key to sign receipts with."
    INTERRUPTED = 75, "It was asked to end, and saved what there was; run it again."


FINAL_EXIT_CODES = range(42, 60)
"""The same input would fail the same way again, so that no Job is tried again. Not all are used."""


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


def describe(error: BaseException) -> str:
    """Name an error of somebody else's code in one line: its class, and what it says."""
    try:
        text = without_addresses(" ".join(str(error).split()))
    except Exception:  # Its own __str__ is broken.
        text = ""
    text = text if len(text) <= 300 else f"{text[:297]}..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def without_addresses(text: str) -> str:
    """Drop `at 0x7f…` from a repr: a condition that differs each round is written each round."""
    return re.sub(r" at 0x[0-9a-f]+", "", text)
