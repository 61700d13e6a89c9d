"""What the demo says, and how it starts commands: each is shown as a person would type it."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.rule import Rule

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples/emoji"
OUT = ROOT / "out/demo"


class Teller:
    """Tells the story, with times since its beginning."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        self._began_s = time.monotonic()
        self.chapters: list[tuple[str, float]] = []

    @property
    def elapsed_s(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began_s

    def chapter(self, title: str, expected_s: float | None = None) -> None:
        """Begin a part of the story.

        Args:
            title: What happens in it.
            expected_s: How long it takes on two slow cores; None: nobody knows.
        """
        self.chapters.append((title, self.elapsed_s))
        self.console.print()
        self.console.print(
            Rule(f"[bold]{title}[/]   [dim]{clock(self.elapsed_s)}[/]", align="left")
        )

        if expected_s:
            self.say(f"[dim]takes about {clock(expected_s)} on two slow cores[/]")

    def say(self, text: str) -> None:
        """Say something."""
        self.console.print(f"  {text}", soft_wrap=True)

    def confirm(self, text: str) -> None:
        """Say that something was looked at and is so."""
        self.console.print(f"  [green]✓[/] {text}", soft_wrap=True)

    def run(self, *arguments: str | Path, accept: Sequence[int] = (0,)) -> None:
        """Run `stockpot …` and let it speak for itself.

        Raises:
            SystemExit: It did not end well.
        """
        command = (sys.executable, "-m", "stockpot.cli", *arguments)
        self.call(*command, shown=(stockpot(), *arguments), accept=accept)

    def call(
        self,
        *command: str | Path,
        shown: Sequence[str | Path],
        accept: Sequence[int] = (0,),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Run a command, shown as a person would type it, and let it speak for itself.

        Raises:
            SystemExit: It did not end well.
        """
        words = " ".join(shorten(word) for word in shown)
        self.console.print(f"[bold cyan]$ {words}[/]", soft_wrap=True)
        code = subprocess.run(
            [str(word) for word in command],
            check=False,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
        ).returncode
        if code not in accept:
            self.console.print(f"[red]{shown[0]} ended with {code}: the demo stops here[/]")
            raise SystemExit(code)


def stockpot() -> str:
    """The command, as a person types it in the repository."""
    beside = Path(sys.executable).with_name("stockpot")
    return shorten(beside) if beside.is_file() else "stockpot"


def shorten(argument: str | Path) -> str:
    """Write a path as it is seen from the repository."""
    text = str(argument)
    return text.replace(f"{ROOT}/", "")


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
