"""Rules for terminal output: colours, bars and spinners, and escaping of unsafe names.

    standard output or error is     colour            bars and spinners
    a terminal                      yes               yes
    a terminal, TERM=dumb           no                no
    a pipe or a file                no                no
    any, FORCE_COLOR is set         yes               as without it
    any, NO_COLOR is set            no                no

Output without colour has no control characters either. NO_COLOR takes precedence over FORCE_COLOR.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import click
from rich.console import Console

_DUMB = ("dumb", "unknown")


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal that can move the cursor."""
    try:
        is_tty = stream is not None and stream.isatty()
    except ValueError:  # It is closed.
        return False
    return is_tty and os.environ.get("TERM", "").lower() not in _DUMB


def has_colour(stream: TextIO | None) -> bool:
    """Return whether colours may be written to a stream."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "").lower() not in ("", "0", "false"):
        return True
    return is_terminal(stream)


def can_move(stream: TextIO | None) -> bool:
    """Return whether bars and spinners may be drawn on a stream."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR")


def console(*, stderr: bool = False, markup: bool = False, **options: Any) -> Console:
    """Return a console that writes to a standard stream.

    Args:
        stderr: Write to standard error.
        markup: Read `[bold]` in text as a style. Not for text with names in it.
        options: Further arguments of rich's `Console`.
    """
    stream = sys.stderr if stderr else sys.stdout
    moves = can_move(stream)
    colours = ("auto" if moves else "standard") if has_colour(stream) else None
    return Console(
        stderr=stderr,
        force_terminal=moves,
        force_interactive=moves,
        color_system=colours,  # type: ignore[arg-type]  # A literal that is chosen above.
        no_color=False,
        markup=markup,
        emoji=False,
        **options,
    )


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show a spinner on stderr while the context lasts, if it is a terminal."""
    if not can_move(sys.stderr):
        yield
        return
    with console(stderr=True).status(what):
        yield


def say(label: str, message: str, *, is_bad: bool = False) -> None:
    """Write a line to standard error that begins with a label in bold."""
    click.secho(
        printable(label),
        err=True,
        nl=False,
        bold=True,
        fg="red" if is_bad else None,
        color=has_colour(sys.stderr),
    )
    click.echo(printable(message), err=True)


def printable(text: str) -> str:
    """Escape control and unprintable characters, which names may contain."""
    return "".join(
        letter
        if letter.isprintable() or letter in "\n\t"
        else letter.encode("unicode_escape").decode()
        for letter in text
    )
