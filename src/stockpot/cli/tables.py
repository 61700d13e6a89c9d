"""Prints objects and changes as tables and lines. It decides and changes nothing."""

from collections.abc import Callable, Iterable
from typing import Any

import click
from rich.table import Table

from stockpot.api.conditions import Condition, ConditionStatus, ConditionType, find
from stockpot.api.omissions import describe
from stockpot.api.v1alpha1 import DataShard, Soup, SoupRevision, UnlearningReceipt
from stockpot.cli.terminal import console, printable, say
from stockpot.core.digests import short
from stockpot.errors import ExitCode
from stockpot.local.commands import Change
from stockpot.local.objects import text_of
from stockpot.local.omission_notes import new_omissions
from stockpot.local.session import Session

Kind = type[Soup] | type[DataShard] | type[SoupRevision] | type[UnlearningReceipt]

KINDS: dict[str, tuple[Kind, ...]] = {
    "all": (Soup, DataShard, SoupRevision, UnlearningReceipt),
    "soups": (Soup,),
    "shards": (DataShard,),
    "revisions": (SoupRevision,),
    "receipts": (UnlearningReceipt,),
}


def print_change(change: Change) -> None:
    """Print what happened to an object, as kubectl does."""
    click.echo(f"{change.kind.lower()}/{change.name} {change.did}")


def print_verdict(session: Session) -> int:
    """Print the problems that a person has to solve.

    Returns:
        The exit code: NOT_SETTLED if there is a problem.
    """
    stalled = []
    shards: list[DataShard] = []
    for namespace in session.objects.namespaces():
        things: tuple[Soup | DataShard, ...] = (
            *session.objects.list(Soup, namespace),
            *session.objects.list(DataShard, namespace),
        )
        shards += (thing for thing in things if isinstance(thing, DataShard))
        for thing in things:
            condition = find(thing.status.conditions, ConditionType.STALLED)
            going = thing.metadata.deletion_timestamp is not None
            if going and condition is None:
                condition = find(thing.status.conditions, ConditionType.UNLEARNED)
            if condition and (condition.status is ConditionStatus.TRUE or going):
                stalled.append((thing, condition))
            figures = find(thing.status.conditions, ConditionType.EVALUATED)
            if figures and figures.status is ConditionStatus.FALSE:
                stalled.append((thing, figures))
    for thing, condition in stalled:
        message, _, advice = condition.message.partition("; help: ")
        where = f"{thing.kind.lower()}/{thing.metadata.name}"
        say(f"{where} {condition.reason}: ", message, is_bad=True)
        if advice:
            say("  help: ", advice)
    _print_omissions(new_omissions(session.layout, shards), to_stderr=True)
    return ExitCode.NOT_SETTLED if stalled else ExitCode.OK


def _print_omissions(things: Iterable[Any], *, to_stderr: bool) -> None:
    """Print a line for each object whose data is not used completely or unchanged."""
    for thing in things:
        is_kind = isinstance(thing, DataShard | SoupRevision)
        if is_kind and (omitted := describe(thing.status.omissions)):
            where = f"{thing.kind.lower()}/{thing.metadata.name}"
            click.echo(printable(f"{where} not used as given: {omitted}"), err=to_stderr)


def print_objects(session: Session, kind: str, namespace: str, output: str) -> None:
    """Print the objects of a kind, as tables or YAML."""
    out = console(markup=True)
    type_: Any
    is_any = False
    for type_ in KINDS[kind]:
        things = tuple(session.objects.list(type_, namespace))
        if not things:
            continue
        is_any = True
        if output == "yaml":
            for thing in things:
                click.echo(f"---\n{text_of(thing)}", nl=False)
            continue
        out.print(_TABLES[type_](things))
        _print_omissions(things, to_stderr=False)
        if kind == "all":
            out.print()
    if not is_any:
        where = session.layout.root
        named = "objects" if kind == "all" else kind
        click.echo(f"no {named} in {where}, namespace {namespace}", err=True)


def _ready(conditions: tuple[Condition, ...]) -> tuple[str, str]:
    condition = find(conditions, ConditionType.READY)
    if condition is None:
        return "Unknown", ""
    colour = "green" if condition.status is ConditionStatus.TRUE else "yellow"
    return f"[{colour}]{condition.status.value}[/]", condition.reason


def _is(conditions: tuple[Condition, ...], kind: ConditionType) -> str:
    condition = find(conditions, kind)
    return condition.status.value if condition else "-"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


def _soups(soups: Iterable[Soup]) -> Table:
    table = _table("SOUP", "STATE", "READY", "REASON", "SHARDS", "REVISION", "WEIGHTS", "QUALITY")
    for soup in soups:
        status = soup.status
        current = status.current_revision
        quality = status.quality[0] if status.quality else None
        table.add_row(
            soup.metadata.name,
            status.state or "-",
            *_ready(status.conditions),
            f"{status.shards.included}/{status.shards.total}",
            (str(current.number) if current.number else "base") if current else "-",
            short(current.weights_digest) if current else "-",
            f"{quality.metric} {float(quality.value):.4f}" if quality else "-",
        )
    return table


def _shards(shards: Iterable[DataShard]) -> Table:
    table = _table(
        *("SHARD", "SOUP", "STATE", "TRAINED", "INCLUDED", "RECORDS", "WEIGHT"),
        *("READY", "REASON", "STAGE"),
    )
    for shard in shards:
        status = shard.status
        table.add_row(
            shard.metadata.name,
            shard.spec.soup_ref.name,
            status.state or "-",
            _is(status.conditions, ConditionType.TRAINED),
            _is(status.conditions, ConditionType.INCLUDED),
            str(status.records) if status.records is not None else "-",
            shard.spec.weight,
            *_ready(status.conditions),
            status.unlearning.stage if status.unlearning else "",
        )
    return table


def _revisions(revisions: Iterable[SoupRevision]) -> Table:
    table = _table("REVISION", "RECIPE", "WEIGHTS", "MADE OF")
    for revision in revisions:
        parts = ", ".join(
            part.shard.name if part.weight == 1 else f"{part.shard.name}x{part.weight}"
            for part in revision.spec.parts
        )
        spec = revision.spec
        table.add_row(
            revision.metadata.name,
            short(spec.recipe_digest),
            short(spec.weights_digest),
            parts or "base",
        )
    return table


def _receipts(receipts: Iterable[UnlearningReceipt]) -> Table:
    table = _table("RECEIPT", "SHARD", "COMPLETENESS", "DIGEST", "SERVED SINCE")
    for receipt in receipts:
        spec = receipt.spec
        table.add_row(
            receipt.metadata.name,
            spec.shard.name,
            spec.completeness.value,
            short(spec.digest),
            short(spec.successor.weights_digest) if spec.successor else "-",
        )
    return table


_TABLES: dict[Kind, Callable[..., Table]] = {
    Soup: _soups,
    DataShard: _shards,
    SoupRevision: _revisions,
    UnlearningReceipt: _receipts,
}
