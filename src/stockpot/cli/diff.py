"""`stockpot diff`: what differs between two checkpoints, tensor by tensor."""

import sys

import click
from rich.table import Table

from stockpot.cli.merge import bar
from stockpot.cli.terminal import console, is_terminal
from stockpot.errors import ExitCode
from stockpot.merging.diff import TensorDifference
from stockpot.merging.diff import diff as compare

WIDE = 400


@click.command()
@click.argument("first")
@click.argument("second")
@click.option("--all", "everything", is_flag=True, help="Show all tensors that differ, not 20.")
def diff(first: str, second: str, everything: bool) -> int:
    """Say what differs between two checkpoints, tensor by tensor.

    FIRST and SECOND are checkpoints as for `stockpot merge`, with tensors of any type; compared
    are keys, types, shapes and numbers. Ends with 0 where all are equal, and with 43 where not.
    """
    with bar("comparing") as progress:
        found = compare(first, second, progress=progress)
    other = [one for one in found if not one.is_equal]
    if not other:
        click.echo(f"no difference: {len(found)} tensors, equal in keys, types, shapes and numbers")
        return ExitCode.OK
    # The largest difference first: what is not there at all above all.
    other.sort(key=lambda one: (one.first is not None and one.second is not None, -one.relative))
    shown = other if everything else other[:20]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("TENSOR", "FIRST", "SECOND", "DIFFERING", "LARGEST", "RELATIVE"):
        right = column in ("DIFFERING", "LARGEST", "RELATIVE")
        table.add_column(
            column,
            justify="right" if right else "left",
            overflow="fold",
            no_wrap=column != "TENSOR",
        )
    for one in shown:
        table.add_row(*_row(one))
    # Whoever reads it through a pipe looks for whole names.
    console(width=None if is_terminal(sys.stdout) else WIDE, highlight=False).print(table)
    rest = f", {len(other) - len(shown)} of them not shown (--all)" if len(other) > 20 else ""
    rest = "" if everything else rest
    click.echo(f"{len(other)} of {len(found)} tensors differ{rest}")
    return ExitCode.WRONG_DIGEST


def _row(tensor_difference: TensorDifference) -> tuple[str, ...]:
    if (
        tensor_difference.first is None
        or tensor_difference.second is None
        or not tensor_difference.elements
    ):
        return (
            tensor_difference.key,
            _said(tensor_difference.first),
            _said(tensor_difference.second),
            "",
            "",
            "",
        )
    return (
        tensor_difference.key,
        _said(tensor_difference.first),
        ""
        if tensor_difference.first == tensor_difference.second
        else _said(tensor_difference.second),
        f"{tensor_difference.differing:,} of {tensor_difference.elements:,}",
        f"{tensor_difference.largest:.3g}",
        f"{tensor_difference.relative:.2e}",
    )


def _said(tensor: tuple[str, tuple[int, ...]] | None) -> str:
    return f"{tensor[0]} {'x'.join(map(str, tensor[1])) or 'scalar'}" if tensor else "absent"
