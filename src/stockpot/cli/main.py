"""Entry point of `stockpot`: the list of commands, and their error messages and exit codes."""

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
    """The summary of a command, by which it is listed without importing it."""

    summary: str
    hidden: bool = False
    """Not listed: for developers of Stockpot, or started by Stockpot itself."""


_NO_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF, errno.EPIPE)
"""Errors that writing to standard output may raise."""

# Each is `stockpot.cli.NAME:NAME`.
COMMANDS: Mapping[str, Entry] = {
    "lint": Entry("Check manifests, and report every mistake with its line and its fix."),
    "local": Entry("Run soups on this machine, without a cluster."),
    "check": Entry("Check what a Soup is made from, and name every fault at once."),
    "merge": Entry("Average checkpoints exactly, each element rounded once."),
    "diff": Entry("Compare two checkpoints tensor by tensor."),
    "plan": Entry("Show what each shard on a cluster lacks, and what the operator does next."),
    "tree": Entry("Show what each soup on a cluster is made of, and which servers serve it."),
    "retry": Entry("Try again what failed for good, of a DataShard or a Soup."),
    "keygen": Entry("Create a key pair for signing receipts."),
    "opening": Entry("Print openings: the later proof that a receipt covers certain records."),
    "rotate": Entry("Hand a soup's receipt chain over to a new signing key."),
    "anchor": Entry("Record the head of a soup's receipt chain in a file outside the store."),
    "verify": Entry("Check receipts with a public key and read access to the store."),
    "audit": Entry(
        "Show every shard that was ever in a soup, and the receipts of those that left."
    ),
    "strays": Entry(
        "List objects in a namespace's prefix that no manifest covers, and remove them."
    ),
    "receipts": Entry("List the receipts in a store, whatever became of their namespaces."),
    "replay": Entry("Print a store's receipts as manifests, to restore them on a cluster."),
    "run": Entry("Execute one RunSpec, as a pod does.", hidden=True),
    "generate": Entry(
        "Write CRDs, reference pages, generated chart files and the list of modules.", hidden=True
    ),
}


def load(name: str) -> click.Command:
    """Import a command."""
    command = getattr(importlib.import_module(f"stockpot.cli.{name}"), name)
    assert isinstance(command, click.Command)
    return command


class Lazy(click.Group):
    """A group that imports a command only when it is called."""

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
    """Run the command line, and exit with one of the documented exit codes."""
    sys.exit(_run())


def _run() -> int:
    _handle_signals()
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
    except SystemExit:  # click and rich exit when the reader of a pipe has gone.
        return _no_output("its reader ended")
    except OSError as error:
        return _unforeseen(error)
    return code if isinstance(code, int) else ExitCode.OK


def _handle_signals() -> None:
    """Treat SIGTERM and SIGHUP like Ctrl-C, so that unfinished output is removed."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        # An ignored signal stays ignored, as under nohup.
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
    """Report an error that any command may meet; raise all others again as bugs."""
    if isinstance(error, FileNotFoundError) and not _has_working_directory():
        _say("error", "the working directory has been deleted")
        _say("  help", "change to a folder that exists, as: cd")
        return ExitCode.STORAGE
    if error.filename is None and error.errno in _NO_OUTPUT:
        return _no_output((error.strerror or str(error)).lower())
    raise error


def _no_output(why: str) -> int:
    _say("error", f"standard output could not be written: {why}")
    # Otherwise Python would write the rest of the buffer again at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return ExitCode.STORAGE


def _command() -> str:
    named = [word for word in sys.argv[1:2] if word in COMMANDS]
    return " ".join(["stockpot", *named])


def _say(what: str, message: str) -> None:
    # Imported late: `--help` starts faster without it.
    from stockpot.cli.terminal import say  # noqa: PLC0415

    say(f"{what}: ", message, is_bad=what == "error")


if __name__ == "__main__":
    main()
