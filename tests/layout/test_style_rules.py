"""Each rule of docs/style.md that a program holds catches text that breaks it."""

import pytest
from tests.layout.style import MAX_LINES, findings, public_classes

DOCSTRING = '"""Says what the module is for."""\n'


@pytest.mark.parametrize(
    "text",
    [
        "one = 1",
        "for found in []: pass",
        "[said for said in []]",
        "def f(told): pass",
        "def f(*, seen_=1): pass",
        "lambda asked: 0",
        "x.found = 1",
        "def asked(): pass",
        "async def told(): pass",
        "class Told: pass",
        "class A:\n    seen: int",
        "with open('f') as one: pass",
        "import os as found",
        "try: pass\nexcept OSError as one: pass",
        "match 1:\n    case one: pass",
        "(found := 1)",
    ],
)
def test_a_banned_name_is_reported(text: str) -> None:
    [(_, problem)] = findings(DOCSTRING + text)

    assert "say what it holds" in problem


@pytest.mark.parametrize(
    "docstring",
    ["Of a shard.", "The same with a key.", "None: it waits.", "So it is.", "Whoever asks."],
)
@pytest.mark.parametrize(
    "text",
    [
        '"""{}"""\n',
        DOCSTRING + 'def f():\n    """{}"""\n',
        DOCSTRING + 'class A:\n    x: int\n    """{}"""\n',
        DOCSTRING + 'X = 1\n"""{}"""\n',
    ],
)
def test_a_fragment_is_reported(text: str, docstring: str) -> None:
    [(_, problem)] = findings(text.format(docstring))

    assert "fragment" in problem


def test_a_long_file_and_one_without_a_docstring_are_reported() -> None:
    long = DOCSTRING + "\n" * MAX_LINES

    assert [line for line, _ in findings(long)] == [1]
    assert [problem for _, problem in findings("import os\n")] == ["the module has no docstring"]


@pytest.mark.parametrize(
    "text", ["", DOCSTRING + "for shard in []: pass", DOCSTRING + "print(one)"]
)
def test_plain_text_is_not_reported(text: str) -> None:
    assert list(findings(text)) == []


def test_public_classes_are_listed() -> None:
    text = "class A: pass\nclass _B: pass\nclass C:\n    class D: pass\n"

    assert public_classes(text) == ["A", "C"]
