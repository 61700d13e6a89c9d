"""Every invariant on the page is cited by the tests that the page names."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/explanation/invariants.md"
ROW = re.compile(r"^\| (\d+) \| .* \| ([^|]+) \|$", re.M)
CITATION = re.compile(r"\b[Ii]nvariants? ([\d, and]*\d)")


def on_the_page() -> dict[int, set[str]]:
    """Return the test files that the page names, by number of the invariant."""
    rows = ROW.findall(PAGE.read_text())
    return {int(number): set(re.findall(r"`(tests/\S+)`", tests)) for number, tests in rows}


def cited_in(path: Path) -> set[int]:
    """Return the numbers that the docstrings of a file cite."""
    numbers: set[int] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
            for citation in CITATION.findall(ast.get_docstring(node) or ""):
                numbers |= {int(number) for number in re.findall(r"\d+", citation)}
    return numbers


def test_the_invariants_are_numbered_from_one() -> None:
    assert list(on_the_page()) == list(range(1, 21))


@pytest.mark.parametrize("number", on_the_page())
def test_an_invariant_is_cited_by_the_tests_that_hold_it(number: int) -> None:
    files = on_the_page()[number]

    assert files
    assert [name for name in files if number not in cited_in(ROOT / name)] == []


def test_a_test_cites_no_invariant_that_is_not_on_the_page() -> None:
    cited = {number for path in (ROOT / "tests").rglob("*.py") for number in cited_in(path)}

    assert cited == set(on_the_page())


@pytest.mark.parametrize(
    ("docstring", "numbers"),
    [
        ("Invariant 3.", {3}),
        ("It holds invariants 2, 3 and 16.", {2, 3, 16}),
        ("Three invariants hold.", set()),
    ],
)
def test_a_citation_is_read(docstring: str, numbers: set[int], tmp_path: Path) -> None:
    file = tmp_path / "test_a.py"
    file.write_text(f'"""{docstring}"""\n')

    assert cited_in(file) == numbers
