"""Source and tests keep the rules of docs/style.md that a program can hold."""

from collections import defaultdict
from pathlib import Path

from tests.layout.style import findings, public_classes

ROOT = Path(__file__).parents[2]
FOLDERS = ("src", "tests", "devcluster", "examples", "operator", "trainer_image")
SHARED = {
    "Soup": "the API's object and the core's decision input are imported as api.Soup, core.Soup",
}
"""Class names that several modules may own, each with the reason."""


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def test_every_file_keeps_the_rules() -> None:
    problems = [
        f"{path.relative_to(ROOT)}:{line}: {problem}"
        for path in sources(*FOLDERS)
        for line, problem in findings(path.read_text())
    ]

    assert problems == []


def test_a_public_class_name_has_one_owner() -> None:
    owners = defaultdict(list)
    for path in sources("src"):
        for name in public_classes(path.read_text()):
            owners[name].append(str(path.relative_to(ROOT)))

    duplicates = {name: paths for name, paths in owners.items() if len(paths) > 1}
    assert {name: paths for name, paths in duplicates.items() if name not in SHARED} == {}
    assert SHARED.keys() <= duplicates.keys(), "remove what is not shared any more"
