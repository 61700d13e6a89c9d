"""A verifier's report for people: one group for each thing that was looked at. No checking."""

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
    Verdict.PROVEN: "it follows from bytes that were read and computed here",
    Verdict.ATTESTED: "whoever signed says so, and nothing here contradicts it",
    Verdict.NOT_CHECKABLE: "nobody can know it from here",
    Verdict.FAILED: "it is not so",
}


def print_report(report: Report, console: Console) -> None:
    """Show what was checked, how each check ended, and what they come to."""
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
        console.print("Keep the head of the chain for the next time:", style="dim")
        console.print(f"  --head {report.head}", highlight=False, soft_wrap=True)
    console.print("What no check here can see:", style="dim")
    for one in BEYOND:
        console.print(Padding(Text(f"- {one}", style="dim"), (0, 0, 0, 2)))


def print_counts(report: Report, console: Console) -> None:
    """Show what all checks come to."""
    for verdict in reversed(Verdict):
        mark, style = MARKS[verdict]
        count = report.count(verdict)
        line = Text.assemble(
            (f"{mark} {count:>3} {WORDS[verdict]:<14}", style if count else "dim"),
            (MEANINGS[verdict] + _moot(report, verdict), "dim"),
        )
        console.print(line)


def _moot(report: Report, verdict: Verdict) -> str:
    """How many of them need not be checked any more."""
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
