"""`stockpot merge`: writes the exact weighted mean of checkpoints."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from stockpot.cli.terminal import can_move, console
from stockpot.merging.soup import DTYPES, MergedFile
from stockpot.merging.soup import merge as make
from stockpot.merging.weights import parse_weighted_path


@click.command()
@click.argument("checkpoints", metavar="CHECKPOINT[@WEIGHT]...", nargs=-1, required=True)
@click.option(
    "-o", "--output", required=True, help="File, s3://bucket/key, or - for standard output."
)
@click.option(
    "--base", metavar="CHECKPOINT", help="Model that LoRAs among the checkpoints are fused into."
)
@click.option(
    "--out-dtype",
    type=click.Choice(list(DTYPES)),
    help="Type to round to. Default: that of each tensor, or of the base's.",
)
@click.option(
    "--threads", type=click.IntRange(1), help="Default: the CPUs that this process may use."
)
@click.option(
    "--verify", is_flag=True, help="Read the output again, and check it in rational arithmetic."
)
def merge(
    checkpoints: tuple[str, ...],
    output: str,
    base: str | None,
    out_dtype: str | None,
    threads: int | None,
    verify: bool,
) -> None:
    """Average checkpoints exactly, each element rounded once.

    CHECKPOINT is a .safetensors file, an index of several (.safetensors.index.json), a folder with
    one of these, or any of them as s3://bucket/key. WEIGHT is a number of 0 or more: 0.3, 2, 1/3;
    without one it is 1. The same checkpoints with the same weights give the same bytes, in any
    order, on any machine.

    With --base a CHECKPOINT may be a LoRA of that model, as PEFT, diffusers or kohya's scripts
    write it. Each is fused into the base by itself, and the mean is of the resulting models; it has
    the base's types. WEIGHT is a LoRA's share of the mean, not its strength: one alone is
    applied in full.

    The output is written atomically. It is a new file, or replaces a regular one and keeps its mode
    and owner; links, devices, pipes, folders and the checkpoints themselves are refused.
    {digest} in the name of a local file becomes the 64 digits of its SHA-256. For S3 set
    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for a store other than Amazon's, AWS_ENDPOINT_URL.

    Exits with 2 for invalid weights and for outputs that are refused, 7 if a file or object cannot
    be read or written, 43 if --verify finds another mean, 46 for checkpoints that are broken or do
    not match each other, 75 if it was interrupted.
    """
    started_s = time.monotonic()
    with bar("merging") as progress:
        made = make(
            [parse_weighted_path(checkpoint) for checkpoint in checkpoints],
            output,
            base=base,
            out_dtype=out_dtype,
            threads=threads,
            verified=verify,
            progress=progress,
        )
    duration_s = time.monotonic() - started_s
    # As bytes: a file name need not be text. To stderr where standard output has the soup itself.
    click.echo(os.fsencode(f"{made.path}  {made.digest}"), err=output == "-")
    checked = ", checked in rationals" if verify else ""
    count = len(made.weights)
    click.echo(
        f"the mean of {count} checkpoint{'s' if count > 1 else ''}, {made.parameters:,} "
        f"parameters, {made.size_bytes / 1e9:.2f} GB in {duration_s:.1f} s{checked}{_copies(made)}",
        err=True,
    )


def _copies(made: MergedFile) -> str:
    """Name the tensors that were copied, for which there is no mean."""
    count, shown = len(made.copied), ", ".join(made.copied[:3])
    if not count:
        return ""
    more = f" and {count - 3} more" if count > 3 else ""
    tensors = f"{count} tensor{'s' if count > 1 else ''}"
    return f"; copied, being equal in all and of no type that is averaged: {tensors}, {shown}{more}"


@contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on stderr, if it is a terminal."""
    if not can_move(sys.stderr):
        yield lambda done, total: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=32),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)
