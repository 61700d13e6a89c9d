"""What is wrong is refused at the door: one sentence, what to do, a documented exit code.

A training takes seconds before its first step. So one shard is trained for all of these tests, each
has a copy of the folder, and all shards whose data is bad are applied at once.

Invariant 14.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from tests import tiny
from tests.local.tiny_soup import Ended, Table, lay, write

from stockpot.api.conditions import ConditionType, find

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> Table:
    return lay(tmp_path_factory.mktemp("laid"), "cats", serving={"replicas": 0})


@pytest.fixture
def table(laid: Table, tmp_path: Path) -> Iterator[Table]:
    """Base, data and manifests, and nothing applied."""
    table = laid.copied(tmp_path / "copy")
    yield table
    table.down()


@pytest.fixture(scope="module")
def too_early(laid: Table, tmp_path_factory: pytest.TempPathFactory) -> tuple[Table, Ended]:
    """A shard that was applied before its soup, and what was said."""
    table = laid.copied(tmp_path_factory.mktemp("too-early") / "copy")
    said = table.apply("cats")
    assert table.apply("soup").code == 0
    return table, said


@pytest.fixture
def trained(too_early: tuple[Table, Ended], tmp_path: Path) -> Iterator[Table]:
    """A soup with one shard."""
    table = too_early[0].copied(tmp_path / "copy")
    yield table
    table.down()


def test_a_claim_that_nobody_named_is_refused_before_anything_is_stored(table: Table) -> None:
    said = table.run("apply", "-f", table.root / "soup.yaml")

    assert said.code == 3
    assert "no folder is known for the claim here" in said.err
    assert "--claim here=FOLDER" in said.err
    assert not (table.state / "objects").exists()


def test_one_wrong_manifest_keeps_all_of_them_out(table: Table) -> None:
    (table.root / "bad.yaml").write_text(
        (table.root / "cats.yaml").read_text().replace("soupRef", "soupReff")
    )

    said = table.apply("soup", "bad")

    assert said.code == 3
    assert "soupReff" in said.err
    assert "did you mean" in said.err
    assert not (table.state / "objects").exists()


def test_a_folder_that_another_process_works_on_is_named_with_its_pid(table: Table) -> None:
    table.state.mkdir()
    with (table.state / "lock").open("w+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(f"{os.getpid()}\n")
        lock.flush()

        said = table.apply("soup")

    assert said.code == 5
    assert f"process {os.getpid()}" in said.err
    assert "help:" in said.err


def test_a_shard_whose_soup_does_not_exist_yet_says_so_and_waits(
    too_early: tuple[Table, Ended],
) -> None:
    table, said = too_early

    assert said.code == 4
    assert "there is no Soup tiny here" in said.err
    assert "apply one of that name" in said.err
    assert table.shards()["cats"].status.ingredient is not None


def test_what_of_the_data_is_not_used_is_said_wherever_people_look(table: Table) -> None:
    data = table.root / "data/cats"
    (data / "unlisted.png").write_bytes((data / "0000.png").read_bytes())
    (data / "README.md").write_text("cats")
    line = "datashard/cats not used as given: pictures that nothing describes, left out: 1 (unlis"

    applied = table.apply("soup", "cats")
    shown = table.run("get", "shards")

    assert applied.code == 0
    assert line in applied.err
    assert line in shown.out
    status = table.shards()["cats"].status
    assert [(omission.reason, omission.count) for omission in status.omissions] == [
        ("UnlistedPicture", 1),
        ("OtherFile", 1),
    ]
    trained = find(status.conditions, ConditionType.TRAINED)
    assert trained is not None
    assert "unlisted.png" in trained.message


BREAK: Mapping[str, Callable[[Path], object]] = {
    "empty": lambda data: (data / "metadata.jsonl").write_text(""),
    "bare": lambda data: (data / "metadata.jsonl").unlink(),
    "corrupt": lambda data: [path.write_bytes(b"no picture") for path in data.glob("*.png")],
    "other": lambda data: None,
}
"""By shard, what is done to its data."""


@pytest.fixture(scope="module")
def refused(
    too_early: tuple[Table, Ended], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Table, Ended]:
    """A soup with one good shard, to which all that are bad were added at once; what was said."""
    table = too_early[0].copied(tmp_path_factory.mktemp("refused") / "copy")
    for seed, (name, break_it) in enumerate(BREAK.items(), start=1):
        break_it(tiny.some_data(table.root / f"data/{name}", n=4, seed=seed))
        source = {"pvc": {"claimName": "here", "path": f"data/{name}"}}
        digest = {"digest": "sha256:" + "0" * 64} if name == "other" else {}
        spec = {"soupRef": {"name": "tiny"}, "source": source, **digest}
        write(table.root / f"{name}.yaml", "DataShard", name, spec)
    return table, table.apply(*BREAK)


@pytest.mark.parametrize(
    ("name", "reason", "words"),
    [
        ("empty", "BadData", ("no records", "metadata.jsonl names none")),
        ("bare", "BadData", ("metadata.jsonl",)),
        ("corrupt", "BadData", (".png",)),
        ("other", "WrongDigest", ("sha256:000000",)),
    ],
)
def test_data_that_is_bad_or_of_another_digest_is_said_of_its_shard(
    refused: tuple[Table, Ended], name: str, reason: str, words: tuple[str, ...]
) -> None:
    _, said = refused

    assert said.code == 4
    _, _, told = said.err.partition(f"datashard/{name} {reason}: ")
    sentence = told.partition("datashard/")[0]
    assert all(word in sentence for word in words), said.err
    assert "help:" in sentence


def test_bad_data_stops_its_shard_and_nothing_else(
    refused: tuple[Table, Ended], too_early: tuple[Table, Ended]
) -> None:
    table, said = refused

    assert "datashard/cats" not in said.err
    assert table.weights() == too_early[0].weights()
    [ingredient] = (table.state / "store/default/shards").rglob("*.safetensors")
    assert table.shards()["cats"].metadata.uid in ingredient.parts
    assert not list((table.state / "store").rglob("*.unfinished"))


def test_a_shard_that_is_trained_needs_its_data_no_more(trained: Table) -> None:
    shutil.rmtree(trained.root / "data/cats")

    said = trained.apply("soup", "cats")

    assert said.code == 0, said.err
    assert said.out.startswith("soup/tiny unchanged\ndatashard/cats unchanged\n")


def test_what_cannot_be_changed_is_refused_with_advice(trained: Table) -> None:
    source = {"pvc": {"claimName": "here", "path": "data/heldout"}}
    write(
        trained.root / "cats.yaml",
        "DataShard",
        "cats",
        {"soupRef": {"name": "tiny"}, "source": source},
    )

    said = trained.apply("cats")

    assert said.code == 3
    assert "DataShard cats: spec.source cannot be changed" in said.err
    assert "make a new DataShard" in said.err


def test_an_edited_ingredient_is_never_served(trained: Table) -> None:
    (trained.root / "data/dogs").mkdir()
    shutil.copytree(trained.root / "data/heldout", trained.root / "data/dogs", dirs_exist_ok=True)
    source = {"pvc": {"claimName": "here", "path": "data/dogs"}}
    spec = {"soupRef": {"name": "tiny"}, "source": source}
    write(trained.root / "dogs.yaml", "DataShard", "dogs", spec)
    served = trained.weights()
    [ingredient] = (trained.state / "store/default/shards").glob("*/*/*.safetensors")
    data = bytearray(ingredient.read_bytes())
    data[-1] ^= 1
    ingredient.write_bytes(data)

    said = trained.apply("dogs")

    assert said.code == 4
    assert "soup/tiny BadWeights" in said.err
    assert ingredient.parent.name in said.err
    assert trained.weights() == served


def test_a_folder_that_cannot_be_written_is_named(table: Table) -> None:
    (table.root / "a-file").write_text("")
    blocked = Table(table.root, "a-file/state")

    said = blocked.apply("soup")

    assert said.code == 7
    assert "a-file" in said.err
    assert "help:" in said.err


def test_a_soup_that_shards_still_name_is_not_deleted(trained: Table) -> None:
    said = trained.run("delete", "soup/tiny")

    assert said.code == 4
    assert "shards still name Soup tiny: cats" in said.err


def test_what_is_not_there_cannot_be_deleted(table: Table) -> None:
    said = table.run("delete", "shard/unicorns")

    assert said.code == 3
    assert "there is no DataShard unicorns in default" in said.err


def test_a_soup_that_was_deleted_begins_anew_when_it_is_applied_again(table: Table) -> None:
    assert table.apply("soup").code == 0
    before = table.soup().metadata.uid

    assert table.run("delete", "soup/tiny").code == 0
    assert table.run("get", "soups").err.startswith("no soups in")
    again = table.apply("soup")

    assert again.code == 0, again.err
    assert table.soup().metadata.uid != before
    assert table.weights()
