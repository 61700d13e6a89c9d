"""Write the ResultMessage of a process, within the limits of a pod's termination message.

Kubernetes cuts a termination message after 4,096 bytes, which would leave half a JSON document. So
a longer message is shortened here, field by field.
"""

import errno
import os
from collections.abc import Callable
from pathlib import Path

from stockpot.api.omissions import MOST_EXAMPLES, Omissions
from stockpot.api.results import Problem, ResultMessage
from stockpot.errors import StockpotError
from stockpot.store.atomic import explained, write_whole

LONGEST_BYTES = 4096
LONGEST_HELP = 500
"""Characters."""
CUT = " …"

_NO_RENAME = (errno.EBUSY, errno.EACCES, errno.EPERM, errno.EROFS)
"""Errors of renaming onto a mounted file, or of creating a file beside it."""


def problem_of(exit_code: int, message: str, help: str = "") -> Problem:  # noqa: A002
    """Return the problem of a failed run, with file names escaped that JSON cannot hold."""
    return Problem(exit_code=exit_code, message=_printable(message), help=_printable(help))


def fitting(result: ResultMessage) -> bytes:
    """Write a result as JSON of at most 4,096 bytes.

    It cuts, in this order: a long help, the end of the problem's message, the examples of omissions
    (counts stay), the last figures.
    """
    problem = result.problem
    if problem and len(_json(result)) > LONGEST_BYTES:
        problem = problem.model_copy(update={"help": _cut(problem.help, LONGEST_HELP)})
        result = result.model_copy(update={"problem": problem})
    if problem and len(_json(result)) > LONGEST_BYTES:
        text = problem.message

        def shortened(length: int) -> ResultMessage:
            shorter = problem.model_copy(update={"message": _cut(text, length)})
            return result.model_copy(update={"problem": shorter})

        result = shortened(_most(len(text), lambda n: _fits(shortened(n))))
    for most in range(MOST_EXAMPLES - 1, -1, -1):
        if not _fits(result):
            result = result.model_copy(update={"omissions": _with_examples(result, most)})
    if not _fits(result):
        figures = list(result.figures.items())

        def fewer(count: int) -> ResultMessage:
            return result.model_copy(update={"figures": dict(figures[:count])})

        result = fewer(_most(len(figures), lambda n: _fits(fewer(n))))
    return _json(result)


def write_result(path: Path, result: ResultMessage) -> None:
    """Write a result to the path that the starter of the process reads.

    The write is atomic. Where it cannot be (a pod's termination message is a file mounted by
    itself, in a folder that is not writable), the existing file is overwritten.

    Raises:
        StockpotError: The file cannot be written.
    """
    data = fitting(result)
    try:
        write_whole(path, data)
    except StockpotError as error:
        cause = error.__cause__
        if not (isinstance(cause, OSError) and cause.errno in _NO_RENAME and path.is_file()):
            raise
        with explained(path), path.open("r+b") as file:
            file.truncate()
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


def _json(result: ResultMessage) -> bytes:
    return result.model_dump_json(by_alias=True, exclude_none=True).encode()


def _fits(result: ResultMessage) -> bool:
    return len(_json(result)) <= LONGEST_BYTES


def _with_examples(result: ResultMessage, most: int) -> Omissions:
    return tuple(
        omission.model_copy(update={"examples": omission.examples[:most]})
        for omission in result.omissions
    )


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[:length] + CUT


def _most(most: int, fits: Callable[[int], bool]) -> int:
    """Return the largest number up to `most` that fits, or 0."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _printable(text: str) -> str:
    # Names of files that are no UTF-8 arrive as halves of surrogate pairs, which no JSON may hold.
    return text.encode(errors="backslashreplace").decode()
