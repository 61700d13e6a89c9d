"""Errors that users meet, and exit codes.

Each error has a message (what happened, to which object), a `help:` line (what to do) and an exit
code that a Job's podFailurePolicy and a shell script can tell apart. This module imports no other
module of the package.

    StockpotError
    ├── Refused      bad input: a retry would fail in the same way; a person must act
    ├── Waiting      not possible yet: something else has to happen first
    └── Transient    a failure of the environment: a retry may succeed
"""

import re
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every command and workload, documented in docs/reference/exit-codes.md.

    A code of FINAL_EXIT_CODES fails a Job at once, because a retry with the same input would fail
    in the same way.
    """

    meaning: str

    def __new__(cls, code: int, meaning: str) -> "ExitCode":
        """Create a member that is an int and carries its meaning."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    OK = 0, "Success."
    BUG = 1, "An unexpected error, with a traceback: a bug."
    USAGE = 2, "Wrong arguments."
    INVALID = 3, "The manifest is invalid."
    NOT_SETTLED = 4, "The objects are stored, but a person has to act: see their conditions."
    LOCKED = 5, "Another process uses the folder."
    PORT_TAKEN = 6, "Another process listens on the port."
    STORAGE = 7, "The storage is full, read-only or unreachable; a retry may succeed."
    NOT_PROVEN = 8, "Every check that could be made passed, but some could not be made."
    DISPROVEN = 9, "A receipt is not valid: a check failed; its reason is printed."
    BAD_DATA = 42, "The data is empty, missing, corrupt or has no captions."
    WRONG_DIGEST = 43, "The bytes do not have the expected digest."
    DIVERGED = 44, "The training diverged: the loss is not a finite number."
    BAD_BASE = 45, "The base is not a diffusers folder, or contains code."
    BAD_WEIGHTS = 46, "An ingredient or revision is truncated, modified or incompatible."
    FORGOTTEN = 47, "A shard in the lineage was unlearned: its tombstone is in the store."
    BAD_RUN_SPEC = 48, "The run spec asks for something that this version does not support."
    NO_SIGNING_KEY = 49, "There is no usable key for signing receipts."
    OTHER_NAMESPACE = 50, "The store's prefix belongs to a deleted namespace of the same name."
    INTERRUPTED = 75, "The process was interrupted and saved its progress; run it again."


FINAL_EXIT_CODES = range(42, 60)
"""A Job that ends with one is not retried: the same input would fail again. Some are unused."""


class StockpotError(Exception):
    """An error with a message, a help line and an exit code."""

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
    """Bad input. A retry would fail in the same way; a person must act."""

    exit_code = ExitCode.INVALID


class Waiting(StockpotError):
    """The operation is not possible yet: something else has to happen first."""

    exit_code = ExitCode.NOT_SETTLED


class Transient(StockpotError):
    """A failure of the environment, such as storage or network. A retry may succeed."""

    exit_code = ExitCode.STORAGE


def describe(error: BaseException) -> str:
    """Format a third-party exception as one line: its class and its message."""
    try:
        text = without_addresses(" ".join(str(error).split()))
    except Exception:  # Its own __str__ is broken.
        text = ""
    text = text if len(text) <= 300 else f"{text[:297]}..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def without_addresses(text: str) -> str:
    """Remove addresses (`at 0x7f…`) from a repr, so that equal errors give equal messages."""
    return re.sub(r" at 0x[0-9a-f]+", "", text)
