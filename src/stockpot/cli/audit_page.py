"""Writes an audit as one HTML page, self-contained and without scripts."""

from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby

from stockpot.core.digests import short
from stockpot.unlearning.verify.history import Audit, MemberHistory
from stockpot.unlearning.verify.verdict import BEYOND, Check, Verdict

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
STYLE = """
:root { color-scheme: light dark;
  --ground: light-dark(#faf7f2, #191613); --paper: light-dark(#fff, #23201c);
  --ink: light-dark(#2b2622, #efe9e1); --faint: light-dark(#756c62, #a59a8d);
  --line: light-dark(#e6ded3, #3a342e); --warm: light-dark(#c2500c, #ff9a57);
  --good: light-dark(#2c6e35, #7fc98a); --word: light-dark(#1d6680, #78c0d8);
  --open: light-dark(#8a6200, #e3b341); --bad: light-dark(#b3261e, #ff8a80); }
* { box-sizing: border-box }
body { margin: 0; padding: 4vh 1.25rem 4rem; background: var(--ground); color: var(--ink);
  font: 16px/1.5 ui-sans-serif, system-ui, sans-serif }
main { max-width: 68rem; margin: 0 auto }
h1 { font-size: 1.7rem; letter-spacing: -.02em; margin: 0 }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem }
h3 { font-size: 1rem; margin: 1.4rem 0 .3rem }
p { margin: .3rem 0; max-width: 48rem } .faint { color: var(--faint) }
code { font: .84em ui-monospace, monospace; overflow-wrap: anywhere }
.counts { display: flex; flex-wrap: wrap; gap: .6rem; margin: 1.2rem 0 }
.counts div { background: var(--paper); border: 1px solid var(--line); border-radius: .6rem;
  padding: .5rem 1rem } .counts b { font-size: 1.4rem; margin-right: .4rem }
.wide { overflow-x: auto; background: var(--paper); border: 1px solid var(--line);
  border-radius: .6rem; padding: .3rem 1rem }
table { border-collapse: collapse; width: 100%; font-size: .92rem }
th, td { text-align: left; padding: .4rem 1rem .4rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; white-space: nowrap } tr:last-child td { border-bottom: 0 }
th { color: var(--faint); font-weight: 500 }
td.mark, th.mark { text-align: center }
ul { list-style: none; margin: 0; padding: 0 }
li { padding: .15rem 0 .15rem 1.6rem; text-indent: -1.6rem }
li span.mark { display: inline-block; width: 1.6rem; text-indent: 0; font-weight: 700 }
li small { color: var(--faint); overflow-wrap: anywhere }
.Proven { color: var(--good) } .Attested { color: var(--word) }
.gone { color: var(--warm) } .NotCheckable { color: var(--open) } .Failed { color: var(--bad) }
"""
MARKS = {
    Verdict.PROVEN: ("✓", "proven"),
    Verdict.ATTESTED: ("~", "attested"),
    Verdict.NOT_CHECKABLE: ("?", "not checkable"),
    Verdict.FAILED: ("✗", "failed"),
}


def page_of(history: Audit) -> str:
    """Render an audit as an HTML page."""
    report, name = history.report, escape(history.name or history.soup)
    beyond = "".join(f"<li>{escape(limit)}</li>" for limit in BEYOND)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>Audit of soup {name}</title><style>{STYLE}</style></head><body><main>
<h1>Soup {name}</h1>
<p class="faint">Every shard that was ever in it, and the receipts of those that left. Namespace
{escape(history.namespace)}, <code>{escape(history.soup)}</code>, read from
<code>{escape(report.store)}</code> with the key <code>{escape(report.key)}</code>.</p>
<div class="counts">{_counts(history)}</div>
<h2>Members</h2>
{_members(history)}
<h2>Members at each receipt</h2>
<p class="faint">Each column is signed: the members of the soup as of that receipt.</p>
{_matrix(history)}
<h2>Receipts</h2>
{_receipts(history)}
{_keys(history)}<h2>Revisions in the store</h2>
{_revisions(history)}
<h2>Checks</h2>
{_checks(report.checks)}
<h2>What these checks cannot see</h2>
<ul class="faint">{beyond}</ul>
<p class="faint">Head of the chain, for the next check: <code>{escape(report.head or "none")}</code>
</p></main></body></html>
"""


def _keys(history: Audit) -> str:
    """Render the key rotations; empty where one key has signed all receipts."""
    rows = [
        (
            str(rotation.sequence),
            escape(rotation.signed_at),
            f"<code>{escape(rotation.old_key)}</code>",
            f"<code>{escape(rotation.new_key)}</code>",
        )
        for rotation in history.rotations
    ]
    head = ("number", "signed", "key", "next key")
    return f"<h2>Keys</h2>\n{_table(head, rows)}\n" if rows else ""


def _counts(history: Audit) -> str:
    return "".join(
        f'<div><b class="{verdict}">{mark} {history.report.count(verdict)}</b>{word}</div>'
        for verdict, (mark, word) in MARKS.items()
    )


def _members(history: Audit) -> str:
    rows = []
    for member in history.members:
        last = member.learnt[-1] if member.learnt else None
        rows.append(
            (
                _named(member),
                f"<code>{escape(member.shard)}</code>",
                _standing(member),
                escape(last.stored_at) if last else "-",
                str(last.records) if last and last.records is not None else "-",
                escape(member.requested_at or "-"),
                f"{member.removed_objects} objects, {member.removed_bytes:,} bytes"
                if member.removed_objects is not None
                else "-",
            )
        )
    head = ("shard", "UID", "state", "trained", "records", "deletion requested", "removed")
    return _table(head, rows)


def _standing(member: MemberHistory) -> str:
    if member.receipt is not None:
        how = "forgotten" if member.completeness == "Complete" else "forgotten, not confirmed"
        return f"{how}, receipt {member.receipt}"
    return "being forgotten" if member.tombstoned_at else "in the soup"


def _matrix(history: Audit) -> str:
    gone_at = {passage.shard: passage.sequence for passage in reversed(history.passages)}
    rows = []
    for member in history.members:
        cells = [_named(member)]
        for passage in history.passages:
            if passage.shard == member.shard:
                cells.append('<span class="gone">forgotten</span>')
            elif member.shard in (passage.members or ()):
                cells.append('<span class="Proven">●</span>')
            else:
                was = gone_at.get(member.shard, passage.sequence) < passage.sequence
                cells.append("" if was else '<span class="faint">○</span>')
        rows.append(cells)
    head = ("shard", *(f"receipt {passage.sequence}" for passage in history.passages))
    return _table(head, rows, marks=True)


def _receipts(history: Audit) -> str:
    names = {member.shard: _named(member) for member in history.members}
    rows = [
        (
            str(passage.sequence),
            names[passage.shard],
            escape(passage.signed_at),
            f"<code>{escape(short(passage.weights_digest))}</code>"
            if passage.weights_digest
            else "nothing",
            f"<code>{escape(passage.digest)}</code>",
        )
        for passage in history.passages
    ]
    return _table(("number", "shard", "signed", "served since", "digest"), rows)


def _revisions(history: Audit) -> str:
    names = {member.shard: _named(member) for member in history.members}
    rows = [
        (
            f"<code>{escape(short(revision.recipe_digest or '-'))}</code>",
            f"<code>{escape(short(revision.weights_digest or '-'))}</code>",
            escape(revision.stored_at),
            ", ".join(names[uid] for uid in revision.members) or "the base alone",
        )
        for revision in history.revisions
    ]
    return _table(("recipe", "weights", "stored", "made of"), rows)


def _checks(checks: Iterable[Check]) -> str:
    groups = []
    for about, group in groupby(checks, key=lambda check: check.about):
        lines = "".join(
            f'<li><span class="mark {check.verdict}">{MARKS[check.verdict][0]}</span>'
            f"{escape(check.claim)} <small>{escape(check.why)}</small></li>"
            for check in group
        )
        groups.append(f"<h3>{escape(about)}</h3><ul>{lines}</ul>")
    return "".join(groups)


def _named(member: MemberHistory) -> str:
    return escape(member.name or f"{member.shard[:8]}…")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, marks: bool = False) -> str:
    """Render a table; the cells are HTML already."""
    mark = ' class="mark"' if marks else ""
    top = "".join(f"<th{mark if number else ''}>{title}</th>" for number, title in enumerate(head))
    body = "".join(
        "<tr>"
        + "".join(f"<td{mark if number else ''}>{cell}</td>" for number, cell in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><tr>{top}</tr>{body}</table></div>'
