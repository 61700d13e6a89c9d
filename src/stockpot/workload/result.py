"""How a ResultMessage gets out of the process: never longer, and never another way, than a pod can.

Kubernetes keeps 4,096 bytes of a termination message and cuts the rest off, which would leave
half a JSON document. So what is too long is shortened here, where it can be done with sense.
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
"""What renaming onto a mounted file, or making one beside it, may say."""


def problem_of(exit_code: int, message: str, help: str = "") -> Problem:  # noqa: A002
    """Say why a run failed, in text that every JSON reader takes, whatever names stand in it."""
    return Problem(exit_code=exit_code, message=_printable(message), help=_printable(help))


def fitting(result: ResultMessage) -> bytes:
    """Write a result as JSON of at most 4,096 bytes.

    What is cut, in this order: a long help, the end of the problem's message, the examples of what
    was left out (their numbers stay), the last figures.
    """
    problem = result.problem
    if problem and len(_json(result)) > LONGEST_BYTES:
        problem = problem.model_copy(update={"help": _cut(problem.help, LONGEST_HELP)})
        result = result.model_copy(update={"problem": problem})
    if problem and len(_json(result)) > LONGEST_BYTES:
        text = problem.message

        def shortened(length: int) -> ResultMessage:
            said = problem.model_copy(update={"message": _cut(text, length)})
            return result.model_copy(update={"problem": said})

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
    """Write a result where whoever started us looks for it.

    It appears whole under its name. Where that cannot be (a pod's termination message is a file
    mounted by itself, in a folder that is not ours), the file that is there is written over.

    Raises:
        StockpotError: It cannot be written.
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
    """Find the largest number up to `most` that fits; 0 where none does."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _printable(text: str) -> str:
    # Names of files that are no UTF-8 arrive as halves of surrogate pairs, which no JSON may hold.
    return text.encode(errors="backslashreplace").decode()
