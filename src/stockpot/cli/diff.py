"""`stockpot diff`: compares two checkpoints tensor by tensor, and prints a table."""

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
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Show all tensors that differ; without it, the first 20.",
)
def diff(first: str, second: str, everything: bool) -> int:
    """Compare two checkpoints tensor by tensor.

    FIRST and SECOND are checkpoints as for `stockpot merge`, with tensors of any type. Compares
    keys, types, shapes and numbers. Exits with 0 if all are equal, and with 43 if not.
    """
    with bar("comparing") as progress:
        differences = compare(first, second, progress=progress)
    other = [tensor for tensor in differences if not tensor.is_equal]
    if not other:
        click.echo(
            f"no difference: {len(differences)} tensors, equal in keys, types, shapes and numbers"
        )
        return ExitCode.OK
    # Tensors that one checkpoint lacks first, then by relative difference.
    other.sort(
        key=lambda tensor: (
            tensor.first is not None and tensor.second is not None,
            -tensor.relative,
        )
    )
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
    for tensor in shown:
        table.add_row(*_row(tensor))
    # In a pipe, names are not wrapped: programs search for them.
    console(width=None if is_terminal(sys.stdout) else WIDE, highlight=False).print(table)
    rest = f", {len(other) - len(shown)} of them not shown (--all)" if len(other) > 20 else ""
    rest = "" if everything else rest
    click.echo(f"{len(other)} of {len(differences)} tensors differ{rest}")
    return ExitCode.WRONG_DIGEST


def _row(tensor: TensorDifference) -> tuple[str, ...]:
    if tensor.first is None or tensor.second is None or not tensor.elements:
        return (
            tensor.key,
            _shape(tensor.first),
            _shape(tensor.second),
            "",
            "",
            "",
        )
    return (
        tensor.key,
        _shape(tensor.first),
        "" if tensor.first == tensor.second else _shape(tensor.second),
        f"{tensor.differing:,} of {tensor.elements:,}",
        f"{tensor.largest:.3g}",
        f"{tensor.relative:.2e}",
    )


def _shape(described: tuple[str, tuple[int, ...]] | None) -> str:
    return (
        f"{described[0]} {'x'.join(map(str, described[1])) or 'scalar'}" if described else "absent"
    )
