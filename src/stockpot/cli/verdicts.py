"""Prints a verification report, with the checks grouped by their subject. It checks nothing."""

from itertools import groupby

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from stockpot.unlearning.verify.verdict import BEYOND, Check, Report, Verdict

MARKS = {
    Verdict.PROVEN: ("✓", "green"),
    Verdict.ATTESTED: ("~", "cyan"),
    Verdict.NOT_CHECKABLE: ("?", "yellow"),
    Verdict.FAILED: ("✗", "bold red"),
}
WORDS = {
    Verdict.PROVEN: "proven",
    Verdict.ATTESTED: "attested",
    Verdict.NOT_CHECKABLE: "not checkable",
    Verdict.FAILED: "failed",
}
MEANINGS = {
    Verdict.PROVEN: "follows from bytes that were read and computed here",
    Verdict.ATTESTED: "stated by the signer, and nothing here contradicts it",
    Verdict.NOT_CHECKABLE: "cannot be decided from here; the reason says what is missing",
    Verdict.FAILED: "the claim is false; the reason names the cause",
}


def print_report(report: Report, console: Console) -> None:
    """Print every check with its verdict, and the number of each verdict."""
    console.print(f"soup {report.soup} in {report.store}", highlight=False, soft_wrap=True)
    signers = ", then ".join(report.keys) or report.key
    console.print(f"signed with {signers}", style="dim", highlight=False, soft_wrap=True)
    for about, checks in groupby(report.checks, key=lambda check: check.about):
        console.print()
        console.print(Text(about, style="bold"))
        for check in checks:
            _print(check, console)
    console.print()
    print_counts(report, console)
    console.print()
    if report.head and not report.count(Verdict.FAILED):
        console.print("Record the head of the chain for the next check:", style="dim")
        console.print(f"  --head {report.head}", highlight=False, soft_wrap=True)
    console.print("What these checks cannot see:", style="dim")
    for limit in BEYOND:
        console.print(Padding(Text(f"- {limit}", style="dim"), (0, 0, 0, 2)))


def print_counts(report: Report, console: Console) -> None:
    """Print the number of checks with each verdict."""
    for verdict in reversed(Verdict):
        mark, style = MARKS[verdict]
        count = report.count(verdict)
        line = Text.assemble(
            (f"{mark} {count:>3} {WORDS[verdict]:<14}", style if count else "dim"),
            (MEANINGS[verdict] + _superseded(report, verdict), "dim"),
        )
        console.print(line)


def _superseded(report: Report, verdict: Verdict) -> str:
    """Name the number of checks that later receipts superseded."""
    count = sum(check.superseded for check in report.checks)
    is_open = verdict is Verdict.NOT_CHECKABLE
    return f"; {count} superseded by later receipts" if is_open and count else ""


def _print(check: Check, console: Console) -> None:
    mark, style = MARKS[check.verdict]
    line = Text.assemble("  ", (mark, style), " ", check.claim)
    is_grave = check.verdict in (Verdict.FAILED, Verdict.NOT_CHECKABLE)
    if is_grave or line.cell_len + len(check.why) + 2 > console.width:
        console.print(line)
        if check.why:
            why = Text(check.why, style="" if is_grave else "dim")
            console.print(Padding(why, (0, 0, 0, 6), expand=False))
    else:
        console.print(line.append(f"  {check.why}" if check.why else "", style="dim"))
