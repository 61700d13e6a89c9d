"""Argument types for files to write; the path is checked before the command starts."""

from pathlib import Path
from typing import Any

import click

from stockpot.errors import ExitCode, Refused
from stockpot.store.outputs import output_path, require_output, require_regular


class OutputFile(click.ParamType[Path]):
    """The path of a file that a command writes, by the rules of `stockpot.store.outputs`.

    Args:
        is_appended: The command appends to the file, and does not replace it.
    """

    name = "file"

    def __init__(self, *, is_appended: bool = False) -> None:
        self._is_appended = is_appended

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path.

        Raises:
            Refused: The path may not be written (exit 2).
        """
        del ctx
        if isinstance(value, Path):
            return value
        if value == "-":
            option = param.opts[0] if param and param.opts else "it"
            raise Refused(
                f"{option} - is standard output, to which the command prints its answer",
                help="name a file; for a file called - write ./-",
                exit_code=ExitCode.USAGE,
            )
        path = output_path(value)
        if self._is_appended:
            require_regular(path)
        else:
            require_output(path)
        return path


OUTPUT = OutputFile()
APPENDED = OutputFile(is_appended=True)
