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
    console.print(f"signed with {report.key}", style="dim", highlight=False, soft_wrap=True)
    for about, checks in groupby(report.checks, key=lambda check: check.about):
        console.print()
        console.print(Text(about, style="bold"))
        for check in checks:
            _print(check, console)
    console.print()
    for verdict in reversed(Verdict):
        mark, style = MARKS[verdict]
        count = report.count(verdict)
        line = Text.assemble(
            (f"{mark} {count:>3} {WORDS[verdict]:<14}", style if count else "dim"),
            (MEANINGS[verdict], "dim"),
        )
        console.print(line)
    console.print()
    if report.head:
        console.print("Keep the head of the chain for the next time:", style="dim")
        console.print(f"  --head {report.head}", highlight=False, soft_wrap=True)
    console.print("What no check here can see:", style="dim")
    for one in BEYOND:
        console.print(Padding(Text(f"- {one}", style="dim"), (0, 0, 0, 2)))


def _print(check: Check, console: Console) -> None:
    mark, style = MARKS[check.verdict]
    console.print(Text.assemble("  ", (mark, style), " ", check.claim))
    if check.why:
        grave = check.verdict in (Verdict.FAILED, Verdict.NOT_CHECKABLE)
        console.print(Padding(Text(check.why, style="" if grave else "dim"), (0, 0, 0, 6)))
