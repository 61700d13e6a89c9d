"""ARCHITECTURE.md names only paths that exist, from the repository's root or below the package."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATH = re.compile(r"`([\w.-]+/[\w./-]*|[\w.-]+\.py)`|\]\(([\w./-]+)\)")


def test_every_path_on_the_page_exists() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text().partition("## Modules")[0]
    paths = {quoted or link for quoted, link in PATH.findall(page)}

    assert len(paths) > 50
    roots = (ROOT, ROOT / "src/stockpot")
    assert not {path for path in paths if not any((root / path).exists() for root in roots)}
