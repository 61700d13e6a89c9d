"""The pages of the repository, and what the tests do with each block of commands in them.

A comment above a fenced block says it: CONTRIBUTING.md, "How a page is written". Nothing is run
here.
"""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
LANGUAGES = ("sh", "python", "yaml", "toml", "json", "text")
RUN = {"sh", "python"}
KINDS = ("run", "file", "output", "check", "not run")
MANIFEST = re.compile(r"^apiVersion: stockpot\.dev/", re.M)
COMMENT = re.compile(r"<!--\s*(.*?)\s*-->", re.S)


class BadPage(Exception):
    """A block of a page does not say what the tests are to do with it."""


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    page: str
    """The path in the repository."""
    line: int
    language: str
    text: str
    marks: dict[str, str] = field(default_factory=dict)
    """By kind, as in `run: clone`; what the comment above the block says."""

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def places(self) -> tuple[str, ...]:
        """The places that the block is run, written or compared in."""
        if "file" in self.marks:
            return tuple(re.split(r",\s*", self.marks["file"].partition(" in ")[2]))
        return tuple(self.marks[kind] for kind in ("run", "output") if kind in self.marks)

    @property
    def file(self) -> str:
        """The file that it is written into; empty: into none."""
        return self.marks.get("file", "").partition(" in ")[0]

    @property
    def is_checked(self) -> bool:
        """Whether the block is checked against the API or the file that it shows."""
        by_itself = self.language == "json" or (
            self.language == "yaml" and bool(MANIFEST.search(self.text))
        )
        return by_itself or "check" in self.marks

    @property
    def way(self) -> str:
        """What becomes of it: `run`, `file`, `output`, `check`, `not run`, `text`; or nothing."""
        for kind in ("not run", "run", "output", "file"):
            if kind in self.marks:
                return kind
        if self.is_checked:
            return "check"
        return "text" if self.language == "text" else ""


def page_names() -> list[str]:
    """Every Markdown file of the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    names = {name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()}
    return sorted(names)


@cache
def blocks() -> tuple[Block, ...]:
    """Every block of every page."""
    return tuple(block for name in page_names() for block in blocks_of(name, text_of(name)))


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def tokens_of(text: str) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(text)


def blocks_of(page: str, text: str) -> Iterator[Block]:
    """Find the blocks of a page.

    Raises:
        BadPage: A block is indented without a fence, has no language, or an unknown mark.
    """
    comment = ""
    for token in tokens_of(text):
        line = token.map[0] + 1 if token.map else 0
        where = f"{page}:{line}"
        match token.type:
            case "html_block":
                comment = token.content
                continue
            case "code_block":
                raise BadPage(f"{where}: an indented block: write it between fences")
            case "fence":
                language = token.info.split()[0] if token.info else ""
                if language not in LANGUAGES:
                    raise BadPage(f"{where}: say which it is: {', '.join(LANGUAGES)}")
                yield Block(page, line, language, token.content, marks_of(comment, where))
        comment = ""


def marks_of(comment: str, where: str) -> dict[str, str]:
    """Read a comment such as `<!-- file: exclude.yaml in studio; check: part of DataShard -->`."""
    marks: dict[str, str] = {}
    for directive in COMMENT.findall(comment):
        for part in re.split(r";\s+(?=(?:run|file|output|check):)", directive):
            kind, colon, value = part.partition(":")
            if not colon or kind not in KINDS or not value.strip():
                raise BadPage(f"{where}: {part!r} is none of: {', '.join(KINDS)}")
            marks[kind] = value.strip()
    return marks


def inline_code() -> Iterator[tuple[str, str]]:
    """Every piece of code in running text and in tables, with its page and line."""
    for name in page_names():
        line = 0
        for token in tokens_of(text_of(name)):
            line = token.map[0] + 1 if token.map else line
            for child in token.children or ():
                if child.type == "code_inline":
                    yield f"{name}:{line}", child.content


def count() -> dict[str, int]:
    """How many blocks there are of each way."""
    ways = [block.way for block in blocks()]
    return {way: ways.count(way) for way in sorted(set(ways))}


def summary() -> str:
    """What is run and what is not, in a sentence."""
    ways = count()
    total = sum(ways.values())
    named = ", ".join(
        f"{ways.get(way, 0)} {words}"
        for way, words in (
            ("run", "run"),
            ("file", "written into files that those use"),
            ("output", "compared with what is printed"),
            ("check", "checked"),
            ("text", "diagrams"),
            ("not run", "marked as not run"),
        )
    )
    return f"{total} blocks in {len({block.page for block in blocks()})} pages: {named}"
