"""Every block of every page has a way to be run or checked, and few are marked as not run."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from devcluster import build
from devcluster.cli import parser
from tests.docs.pages import (
    RUN,
    BadPage,
    Block,
    blocks,
    blocks_of,
    count,
    inline_code,
    summary,
    text_of,
)
from tests.docs.table import everywhere, places
from tests.layout.test_examples import merged

from stockpot.api.reading import read_text
from stockpot.api.runspec import RUN_SPEC
from stockpot.cli.main import COMMANDS, load
from stockpot.cluster.chart.values import Values

ROOT = Path(__file__).parents[2]
LEAST: dict[str, dict[str, Any]] = {
    "DataShard": {"soupRef": {"name": "emoji"}, "source": {"s3": {"prefix": "data/food"}}},
    "Soup": {"base": {"s3": {"prefix": "bases/emoji"}}},
}
"""What a part of a manifest is laid over before it is checked."""
TYPED = re.compile(
    r"^\s*(?:\$ )?(?:sudo )?(?:make|kubectl|helm|stockpot|git|pip|python3?|docker|bin/\w+) [a-z-]"
)
SHELL_WORD = re.compile(r"[\w./=:@+-]+")


# ------------------------------------------------------------------------------- ways to be run


@pytest.mark.parametrize("block", blocks(), ids=lambda block: block.where)
def test_a_block_says_what_the_tests_do_with_it(block: Block) -> None:
    assert block.way, f"{block.where}: say it in a comment above: CONTRIBUTING.md"
    if block.way == "run":
        assert block.language in RUN, f"{block.where} is {block.language}, and cannot be run"
    if block.way in {"check", "file"} and block.language in RUN:
        assert block.way == "file"
    assert set(block.places) <= places().keys(), f"{block.where}: places.toml has no such place"


def test_fewer_than_a_tenth_are_not_run() -> None:
    ways = count()
    total = sum(number for way, number in ways.items() if way != "text")

    assert ways["not run"] * 10 < total, summary()


@pytest.mark.parametrize(
    "block", [block for block in blocks() if block.way == "text"], ids=lambda b: b.where
)
def test_a_diagram_tells_nobody_to_type_anything(block: Block) -> None:
    assert not [line for line in block.text.splitlines() if TYPED.match(line)]


def test_an_output_follows_the_block_that_prints_it() -> None:
    for before, block in zip((None, *blocks()), blocks(), strict=False):
        if block.way == "output":
            assert before is not None
            assert (before.page, before.marks.get("run")) == (block.page, block.marks["output"])


def test_every_replacement_is_used_and_says_what_it_puts_there() -> None:
    unused = [
        f"{place.name}: {words}"
        for place in places().values()
        for words in place.instead.keys() - everywhere().keys()
        if not any(words in block.text for block in blocks() if place.name in block.places)
    ]

    assert unused == []
    assert all(any(name in block.places for block in blocks()) for name in places())


@pytest.mark.parametrize(
    ("page", "why"),
    [
        ("    make test\n", "write it between fences"),
        ("```\nmake test\n```\n", "say which it is"),
        ("```console\n$ make\n```\n", "say which it is"),
        ("<!-- rum: clone -->\n```sh\nmake\n```\n", "is none of"),
        ("<!-- run: -->\n```sh\nmake\n```\n", "is none of"),
        ("1. first\n\n   ```\n   make\n   ```\n", "say which it is"),
        ("> ~~~\n> make\n> ~~~\n", "say which it is"),
    ],
)
def test_a_page_that_does_not_say_it_is_refused(page: str, why: str) -> None:
    with pytest.raises(BadPage, match=why):
        tuple(blocks_of("page.md", page))


@pytest.mark.parametrize(
    ("page", "way"),
    [
        ("```sh\nmake\n```\n", ""),
        ("<!-- run: clone -->\n\nAnd then:\n\n```sh\nmake\n```\n", ""),
        ("<!-- run: clone -->\n```sh\nmake\n```\n", "run"),
        ("1. one\n\n   <!-- run: node -->\n   ```sh\n   make\n   ```\n", "run"),
        ("<!-- not run: it takes hours; and more -->\n```sh\nmake\n```\n", "not run"),
        ("```yaml\nspec: {}\n```\n", ""),
        ("```yaml\napiVersion: stockpot.dev/v1alpha1\nkind: Soup\n```\n", "check"),
        ("```json\n{}\n```\n", "check"),
    ],
)
def test_a_way_is_of_the_block_right_below_its_comment(page: str, way: str) -> None:
    [block] = blocks_of("page.md", page)

    assert block.way == way


# ----------------------------------------------------------------------------- what they say


@pytest.mark.parametrize(
    "block",
    [block for block in blocks() if block.language in {"yaml", "json"}],
    ids=lambda b: b.where,
)
def test_a_document_is_what_it_says_it_is(block: Block) -> None:
    text = block.text
    for words, instead in everywhere().items():
        text = text.replace(words, instead)
    kind = block.marks.get("check", "")
    if block.language == "json":
        assert json.loads(text)
    match kind.split():
        case ["RunSpec"]:
            assert RUN_SPEC.validate_json(text)
        case ["values"]:
            check_values(text)
        case ["part", "of", name]:
            spec = {**LEAST[name], **yaml.safe_load(text)["spec"]}
            whole = {"apiVersion": "stockpot.dev/v1alpha1", "kind": name, "spec": spec}
            read = read_text(yaml.safe_dump({**whole, "metadata": {"name": "food"}}), block.where)
            assert read.checked()
        case [] if block.language == "yaml" and "apiVersion: stockpot.dev/" in text:
            assert read_text(text, block.where).checked()
        case [] if block.language == "yaml":
            assert block.file.endswith(".yaml"), f"{block.where} is nothing that we know"
            check_values(text)
        case []:
            pass
        case _:
            pytest.fail(f"{block.where}: nobody knows how to check {kind!r}")


def check_values(text: str) -> None:
    defaults = yaml.safe_load((ROOT / "charts/stockpot/values.yaml").read_text())
    store = {"url": "s3://stockpot", "endpoint": "https://s3.example.com"}
    least = {"workloadNamespaces": ["studio"], "stores": {"default": store}}
    values = merged(merged(defaults, least), yaml.safe_load(text))
    assert Values.model_validate_json(json.dumps(values)).stores


# --------------------------------------------------------------------- commands in running text


def targets() -> set[str]:
    """The targets of the Makefile that a person may name."""
    files = [ROOT / "Makefile", *ROOT.glob("make/*.mk")]
    names = re.findall(r"^\.PHONY: (\S+)$", "".join(map(Path.read_text, files)), re.M)
    return set(names)


def variables() -> set[str]:
    """The variables that a person may give make."""
    files = [ROOT / "Makefile", *ROOT.glob("make/*.mk"), *ROOT.glob("trainer_image/*.sh")]
    # Those that make hands on to a program.
    read = [*ROOT.glob("examples/emoji/demo/*.py"), *ROOT.glob("tests/benchmarks/*.py")]
    return {
        *re.findall(r"\$[({]([A-Z_]+)\b", "".join(map(Path.read_text, files))),
        *re.findall(r"environ\S*[(\[]\"([A-Z_]+)\"", "".join(map(Path.read_text, read))),
    }


def typed(program: str) -> list[tuple[str, list[str]]]:
    """Every command of a program, in running text and in blocks, with where it stands."""
    commands = []
    lines = [(where, code) for where, code in inline_code()]
    for block in blocks():
        if block.language == "sh":
            whole = block.text.replace("\\\n", " ")
            lines += [(block.where, line) for line in whole.splitlines()]
    for where, line in lines:
        for part in re.split(r"&&|\|\||[|;#]", line):
            words = part.strip().removeprefix("sudo ").split()
            while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
                words = words[1:]
            if words and words[0].removeprefix(".venv/bin/") == program:
                commands.append((where, words[1:]))
    return commands


def test_every_make_target_and_variable_that_is_named_is_there() -> None:
    wrong = [
        f"{where}: make {' '.join(words)}"
        for where, words in typed("make")
        for word in words
        if SHELL_WORD.fullmatch(word)
        and (
            word.partition("=")[0] not in variables()
            if "=" in word
            else not word.startswith("-") and word not in targets()
        )
    ]

    assert wrong == []
    assert len(typed("make")) > 30, "they are found"


def test_every_command_and_option_that_is_named_is_there() -> None:
    wrong = [
        f"{where}: stockpot {' '.join(words)}"
        for where, words in typed("stockpot")
        if not is_command(words)
    ]

    assert wrong == []
    assert len(typed("stockpot")) > 30, "they are found"


def is_command(words: list[str]) -> bool:
    if not words or words[0] == "…" or words[0].startswith("-"):
        return True
    if words[0] not in COMMANDS:
        return False
    command = load(words[0])
    options = words[1:]
    if isinstance(command, click.Group) and options and options[0].isalpha():
        names = options[0].split("|")
        if not set(names) <= command.commands.keys():
            return False
        command = command.commands[names[0]]
    known = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
    named = {word.partition("=")[0] for word in options if re.match(r"--?[a-z]", word)}
    return named <= {*known, "--help"}


@pytest.mark.apiserver
@pytest.mark.parametrize("program", ["kubectl", "helm"])
def test_every_command_for_a_cluster_that_is_named_is_there(program: str) -> None:
    programs = build.built(build.control_plane())
    named = {
        tuple(words): where for name in (program, f"bin/{program}") for where, words in typed(name)
    }

    # With an option that it does not know, it does not come to its help.
    wrong = [
        f"{where}: {program} {' '.join(words)}"
        for words, where in named.items()
        if words
        and subprocess.run(
            [str(programs / program), *words, "--help"], capture_output=True, check=False
        ).returncode
    ]

    assert wrong == []
    assert named


def test_the_page_of_the_built_in_cluster_names_every_command_of_it() -> None:
    page = text_of("docs/how-to/devcluster.md")
    shown = set(re.findall(r"^\| `([a-z]+)[^`]*` \| [a-z]", page, re.M))
    [verbs] = [action for action in parser()._actions if action.dest == "verb"]

    assert verbs.choices is not None
    assert shown == set(verbs.choices)


def test_the_pages_are_counted(capfd: pytest.CaptureFixture[str]) -> None:
    counted = subprocess.run(
        [sys.executable, "-m", "tests.docs"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert summary() in counted.stdout
    assert counted.stdout.count("is not run:") == count()["not run"]
