"""`stockpot audit`: arguments and output. `stockpot.unlearning.verify` reads the history."""

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stockpot.cli.audit_page import page_of
from stockpot.cli.averaging import Averaging
from stockpot.cli.outputs import OUTPUT
from stockpot.cli.receipt_options import ANCHOR, HEAD, store_ref, where
from stockpot.cli.terminal import console, waiting
from stockpot.cli.verdicts import MARKS, print_counts
from stockpot.core.digests import short
from stockpot.store.keys import Keys
from stockpot.store.open import open_store
from stockpot.store.outputs import write_output
from stockpot.unlearning.anchors import FileAnchor
from stockpot.unlearning.keys import load_public_key
from stockpot.unlearning.verify.chain_head import parse_head
from stockpot.unlearning.verify.history import Audit, MemberHistory, read_audit
from stockpot.unlearning.verify.soups import find_soup
from stockpot.unlearning.verify.verdict import Verdict
from stockpot.unlearning.verify.verification import VerificationInput, verify


@click.command()
@click.argument("soup", metavar="SOUP")
@where
@HEAD
@ANCHOR
@click.option("--base", metavar="FOLDER|PREFIX", help="As for `stockpot verify`.")
@click.option(
    "--html",
    "page",
    type=OUTPUT,
    help="Also write the audit to this file, as one self-contained HTML page.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the history as JSON.")
def audit(
    soup: str,
    place: str,
    key: Path,
    endpoint: str,
    namespace: str,
    head: str | None,
    anchor: Path | None,
    base: str | None,
    page: Path | None,
    as_json: bool,
) -> int:
    """Show every shard that was ever in a soup, and the receipts of those that left.

    SOUP is soup/NAME, or the UID of a deleted soup. Runs the checks of `stockpot verify`, with the
    same exit codes.
    """
    kept = parse_head(head) if head is not None else None
    public_key = load_public_key(key)
    store, keys = open_store(store_ref(place, endpoint), namespace), Keys(namespace)
    file = FileAnchor(anchor) if anchor else None
    uid = find_soup(store, keys, soup, file.soups(namespace) if file else None)
    inputs = VerificationInput(store, place, keys, uid, public_key)
    with waiting("reading and averaging"):
        report = verify(
            inputs,
            head=kept,
            average=Averaging(store, keys, base),
            urls=(),
            anchor=file,
        )
        history = read_audit(inputs, report)
    if page:
        write_output(page, page_of(history).encode())
    if as_json:
        click.echo(history.model_dump_json(indent=2))
    else:
        _print(history, console())
    return report.exit_code


def _print(history: Audit, console: Console) -> None:
    title = f"soup {history.name or history.soup} in namespace {history.namespace}"
    console.print(title, style="bold", highlight=False)
    console.print()
    console.print(_members(history))
    console.print()
    console.print(_passages(history))
    console.print()
    console.print(_revisions(history))
    console.print()
    if history.rotations:
        console.print(_keys(history))
        console.print()
    print_counts(history.report, console)
    for verdict in (Verdict.FAILED, Verdict.NOT_CHECKABLE):
        mark, style = MARKS[verdict]
        for check in history.report.checks:
            if check.verdict is verdict and not check.superseded:
                line = Text.assemble((mark, style), f" {check.about}: {check.claim}: {check.why}")
                console.print(line)


def _members(history: Audit) -> Table:
    table = _table("SHARD", "UID", "STATE", "TRAINED", "RECORDS", "UNLEARNED", "REMOVED")
    for member in history.members:
        last = member.learnt[-1] if member.learnt else None
        removed = f"{member.removed_objects} objects" if member.removed_objects is not None else "-"
        table.add_row(
            member.name or "-",
            member.shard if len(member.shard) <= 12 else f"{member.shard[:8]}…",
            standing(member),
            last.stored_at if last else "-",
            str(last.records) if last and last.records is not None else "-",
            member.signed_at or member.tombstoned_at or "-",
            removed,
        )
    return table


def standing(member: MemberHistory) -> str:
    """Describe the state of a member in a word."""
    if member.receipt is not None:
        how = "forgotten" if member.completeness == "Complete" else "incomplete"
        return f"{how} ({member.receipt})"
    return "unlearning" if member.tombstoned_at else "included"


def _passages(history: Audit) -> Table:
    names = {member.shard: member.name or member.shard[:8] for member in history.members}
    table = _table("RECEIPT", "SHARD", "SIGNED", "SERVED SINCE", "MADE OF", "DIGEST")
    for passage in history.passages:
        members = ", ".join(names[uid] for uid in passage.members or ()) or "the base alone"
        table.add_row(
            str(passage.sequence),
            names[passage.shard],
            passage.signed_at,
            short(passage.weights_digest) if passage.weights_digest else "nothing",
            members if passage.members is not None else "-",
            short(passage.digest),
        )
    return table


def _revisions(history: Audit) -> Table:
    names = {member.shard: member.name or member.shard[:8] for member in history.members}
    table = _table("STORED REVISION", "WEIGHTS", "STORED", "MADE OF")
    for revision in history.revisions:
        table.add_row(
            short(revision.recipe_digest or "-"),
            short(revision.weights_digest or "-"),
            revision.stored_at,
            ", ".join(names[uid] for uid in revision.members) or "the base alone",
        )
    return table


def _keys(history: Audit) -> Table:
    table = _table("NUMBER", "SIGNED", "KEY", "NEXT KEY")
    for rotation in history.rotations:
        table.add_row(
            str(rotation.sequence), rotation.signed_at, rotation.old_key, rotation.new_key
        )
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=column != "MADE OF")
    return table
