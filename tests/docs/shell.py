"""Runs the blocks of one page in one place, as a reader types them: one after the other.

Each block is a bash of its own that ends at the first command that fails. The working directory and
exported variables of one block are there in the next.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

from tests.docs.pages import Block
from tests.docs.table import Place

TAIL = 60
"""Lines of the output that a failure shows."""
DIGEST = re.compile(r"\bsha256:[0-9a-f]+…?")


class Failed(AssertionError):
    """A block of a page does not do what a reader expects."""


@dataclass(frozen=True)
class Ground:
    """A place as it was built."""

    cwd: Path
    scratch: Path
    """A folder for scripts and what they print, which their user may write."""
    variables: Mapping[str, str]
    """What the table's replacements name, and what else commands need."""
    user: Sequence[str] = ()
    """What is put before a command, so that another user runs it; empty: nothing."""
    owner: int | None = None
    """The user's ID, to whom files are given; None: they stay ours."""


@dataclass
class Session:
    """One page in one place."""

    place: Place
    ground: Ground
    printed: str = ""
    """What the last block printed."""
    _number: int = field(default=0)

    def __post_init__(self) -> None:
        self._where.write_text(f"{self.ground.cwd}\n")
        self._exported.write_text("")
        for path in (self._where, self._exported):
            self._give(path)

    @property
    def _where(self) -> Path:
        return self.ground.scratch / "cwd"

    @property
    def _exported(self) -> Path:
        return self.ground.scratch / "exported"

    def do(self, block: Block) -> None:
        """Do what the comment above a block says.

        Raises:
            Failed: The block does not end well, or prints something else than the page shows.
        """
        match block.way:
            case "run":
                self._run(block)
            case "file":
                self._write(block)
            case "output":
                self._compare(block)

    def _run(self, block: Block) -> None:
        self._number += 1
        script = self.ground.scratch / f"{self._number}.sh"
        log = self.ground.scratch / f"{self._number}.log"
        script.write_text(self._script(block))
        log.write_text("")
        self._give(log)
        self._give(script)
        began_s = time.monotonic()
        with log.open("ab") as file:
            process = subprocess.Popen(
                [*self.ground.user, "bash", str(script)],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd="/",
                env={**self.ground.variables, "COLUMNS": "200"},
                start_new_session=True,
            )
            try:
                code = process.wait(timeout=60 * self.place.minutes)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        took_s = time.monotonic() - began_s
        sys.stdout.write(f"{block.where} took {took_s:.1f} s\n")
        self.printed = log.read_text(errors="replace")
        if code != 0:
            how = f"ended with {code}" if code is not None else f"took {self.place.minutes} minutes"
            raise Failed(f"{block.where} {how} in {self.place.name}:\n{self._tail(script)}")

    def _script(self, block: Block) -> str:
        text = self.place.put_in(block.text)
        if block.language == "python":
            python = self.ground.variables.get("INTERPRETER", "python3")
            text = f"{python} - <<'END OF THE BLOCK'\n{text}END OF THE BLOCK\n"
        where, exported = shlex.quote(str(self._where)), shlex.quote(str(self._exported))
        return (
            "set -euo pipefail\n"
            f'cd "$(cat {where})"\n'
            f"source {exported}\n"
            f"trap 'code=$?; pwd > {where}; export -p > {exported}; exit $code' EXIT\n"
            f"{text}"
        )

    def _tail(self, script: Path) -> str:
        typed = script.read_text().split(" EXIT\n", 1)[1]
        printed = "\n".join(self.printed.splitlines()[-TAIL:])
        return f"{typed}--- printed:\n{printed}"

    def _write(self, block: Block) -> None:
        path = Path(self._where.read_text().strip(), block.file)
        text = Template(self.place.put_in(block.text)).safe_substitute(self.ground.variables)
        missing = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        for item in (path, *missing):
            self._give(item)

    def _compare(self, block: Block) -> None:
        printed = iter(map(alike, self.printed.splitlines()))
        for line in block.text.splitlines():
            wanted = pattern(alike(line))
            if not any(wanted.fullmatch(other) for other in printed):
                raise Failed(
                    f"{block.where} shows a line that was not printed there:\n{line}\n"
                    f"--- printed:\n{self.printed}"
                )

    def _give(self, path: Path) -> None:
        if self.ground.owner is not None:
            os.chown(path, self.ground.owner, self.ground.owner)


def alike(line: str) -> str:
    """A line without what differs from run to run: digests, and the widths of columns."""
    return re.sub(r"\s+", " ", DIGEST.sub("sha256:…", line)).strip()


def pattern(line: str) -> re.Pattern[str]:
    """What a line of a page stands for: `…` for anything."""
    return re.compile(".*".join(re.escape(part) for part in line.split("…")))


def sessions(blocks: Sequence[Block], place: str) -> Iterator[tuple[str, list[Block]]]:
    """The blocks of a place, page by page."""
    for page in dict.fromkeys(block.page for block in blocks):
        session = [block for block in blocks if block.page == page and place in block.places]
        if session:
            yield page, session
