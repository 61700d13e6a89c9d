"""The command `stockpot`: which commands there are, and how every one of them ends."""

import errno
import importlib
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import FrameType

import click

from stockpot import __version__
from stockpot.errors import ExitCode, StockpotError
from stockpot.extras import extra_named


@dataclass(frozen=True)
class Entry:
    """What a command is for: enough to list it without importing it."""

    summary: str
    hidden: bool = False
    """Left out of the list: for whoever develops Stockpot, or for Stockpot itself."""


_NO_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF, errno.EPIPE)
"""What writing to standard output may say."""

# Each is `stockpot.cli.NAME:NAME`.
COMMANDS: Mapping[str, Entry] = {
    "lint": Entry("Say what is wrong with manifests, and what to write."),
    "local": Entry("Run soups on this machine, without a cluster."),
    "merge": Entry("Average checkpoints exactly, each element rounded once."),
    "diff": Entry("Say what differs between two checkpoints, tensor by tensor."),
    "plan": Entry("Show what each shard on a cluster lacks, and what the operator does next."),
    "tree": Entry("Show what each soup on a cluster is made of, and which servers serve it."),
    "keygen": Entry("Make a key to sign receipts with."),
    "opening": Entry("Hand out what shows later that a receipt means certain records."),
    "rotate": Entry("Hand a soup's receipts over from one signing key to the next."),
    "anchor": Entry("Keep where a soup's receipts end, outside of its store."),
    "verify": Entry("Check receipts with a public key and read access to the store."),
    "audit": Entry("Tell who was ever in a soup, with the receipts of who left."),
    "replay": Entry("Write receipts of the store as objects, for a cluster that lost them."),
    "run": Entry("Carry out one RunSpec, as a pod does.", hidden=True),
    "generate": Entry(
        "Write CRDs, reference pages, generated chart files and the list of modules.", hidden=True
    ),
}


def load(name: str) -> click.Command:
    """Import a command."""
    found = getattr(importlib.import_module(f"stockpot.cli.{name}"), name)
    assert isinstance(found, click.Command)
    return found


class Lazy(click.Group):
    """A group that imports a command when it is called, and lists it without."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return load(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, entry.summary) for name, entry in COMMANDS.items() if not entry.hidden]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="stockpot")
def stockpot() -> None:
    """Keep a generative image model in step with the data it is allowed to know."""


def main() -> None:
    """Run the command line, and end the process with an exit code of ours."""
    sys.exit(_run())


def _run() -> int:
    _end_when_asked()
    try:
        # Not standalone: click would end an interrupted command with the code of a bug.
        with extra_named(_command()):
            code = stockpot.main(prog_name="stockpot", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except StockpotError as error:
        _say("error", error.message)
        if error.help:
            _say("  help", error.help)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        _say("error", "interrupted")
        return ExitCode.INTERRUPTED
    except SystemExit:  # What click and rich make of a pipe whose reader has gone.
        return _no_output("its reader ended")
    except OSError as error:
        return _unforeseen(error)
    return code if isinstance(code, int) else ExitCode.OK


def _end_when_asked() -> None:
    """Take SIGTERM and SIGHUP as Ctrl-C, so that what was begun is taken back."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        # One that is ignored stays so: nohup.
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise KeyboardInterrupt


def _has_working_directory() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def _unforeseen(error: OSError) -> int:
    """Say what may fail anywhere in a command; raise again what is a bug."""
    if isinstance(error, FileNotFoundError) and not _has_working_directory():
        _say("error", "the working directory has been deleted")
        _say("  help", "change to a folder that is there, as: cd")
        return ExitCode.STORAGE
    if error.filename is None and error.errno in _NO_OUTPUT:
        return _no_output((error.strerror or str(error)).lower())
    raise error


def _no_output(why: str) -> int:
    _say("error", f"standard output could not be written: {why}")
    # What is left in its buffer would be tried once more when the process ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return ExitCode.STORAGE


def _command() -> str:
    named = [word for word in sys.argv[1:2] if word in COMMANDS]
    return " ".join(["stockpot", *named])


def _say(what: str, message: str) -> None:
    # Loaded where it is used: what only lists commands starts without it.
    from stockpot.cli.terminal import say  # noqa: PLC0415

    say(f"{what}: ", message, is_bad=what == "error")


if __name__ == "__main__":
    main()
