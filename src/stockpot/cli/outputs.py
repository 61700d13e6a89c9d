"""Arguments that name a file to be written, which is looked at before anything is done."""

from pathlib import Path
from typing import Any

import click

from stockpot.errors import ExitCode, Refused
from stockpot.store.outputs import output_path, require_output, require_regular


class OutputFile(click.ParamType[Path]):
    """A file that a command writes, by the rules of `stockpot.store.outputs`.

    Args:
        is_appended: It is added to, and not replaced.
    """

    name = "file"

    def __init__(self, *, is_appended: bool = False) -> None:
        self._is_appended = is_appended

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Read the name.

        Raises:
            Refused: Nothing may be written under it (exit 2).
        """
        del ctx
        if isinstance(value, Path):
            return value
        if value == "-":
            option = param.opts[0] if param and param.opts else "it"
            raise Refused(
                f"{option} - would be standard output, which has the command's answer",
                help="name a file; one of the name - is ./-",
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
