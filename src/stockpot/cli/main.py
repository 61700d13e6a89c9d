"""The command `stockpot`: which commands there are, and how every one of them ends."""

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import click

from stockpot import __version__
from stockpot.errors import ExitCode, StockpotError


@dataclass(frozen=True)
class Entry:
    """What a command is for: enough to list it without importing it."""

    summary: str
    hidden: bool = False
    """Left out of the list: for whoever develops Stockpot, or for Stockpot itself."""


# Each is `stockpot.cli.NAME:NAME`.
COMMANDS: Mapping[str, Entry] = {
    "lint": Entry("Say what is wrong with manifests, and what to write."),
    "local": Entry("Run soups on this machine, without a cluster."),
    "merge": Entry("Average checkpoints exactly, each element rounded once."),
    "diff": Entry("Say what differs between two checkpoints, tensor by tensor."),
    "plan": Entry("Say where each shard on a cluster stands, and what comes next."),
    "tree": Entry("Show what soups on a cluster are made of, and who serves them."),
    "keygen": Entry("Make a key to sign receipts with."),
    "opening": Entry("Hand out what shows later that a receipt means certain records."),
    "rotate": Entry("Hand a soup's receipts over from one signing key to the next."),
    "anchor": Entry("Keep where a soup's receipts end, outside of its store."),
    "verify": Entry("Check receipts with a public key and read access to the store."),
    "audit": Entry("Tell who was ever in a soup, with the receipts of who left."),
    "replay": Entry("Write receipts of the store as objects, for a cluster that lost them."),
    "run": Entry("Carry out one RunSpec, as a pod does.", hidden=True),
    "generate": Entry(
        "Write CRDs, reference pages, and what of the chart is made from models.", hidden=True
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
    try:
        # Not standalone: click would end an interrupted command with the code of a bug.
        code = stockpot.main(prog_name="stockpot", standalone_mode=False)
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
    return code if isinstance(code, int) else ExitCode.OK


def _say(what: str, message: str) -> None:
    click.secho(f"{what}: ", err=True, nl=False, bold=True, fg="red" if what == "error" else None)
    click.echo(message, err=True)


if __name__ == "__main__":
    main()
