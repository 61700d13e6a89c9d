"""Bad input is refused with one sentence, a help line and a documented exit code.

A training takes seconds before its first step. So one shard is trained for all of these tests, each
test has a copy of the folder, and all shards with bad data are applied at once.

Invariant 14.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from tests import tiny
from tests.local.tiny_soup import CommandResult, Table, lay, write

from stockpot.api.conditions import ConditionType, find

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> Table:
    return lay(tmp_path_factory.mktemp("laid"), "cats", serving={"replicas": 0})


@pytest.fixture
def table(laid: Table, tmp_path: Path) -> Iterator[Table]:
    """Base, data and manifests, with nothing applied."""
    table = laid.copied(tmp_path / "copy")
    yield table
    table.down()


@pytest.fixture(scope="module")
def too_early(laid: Table, tmp_path_factory: pytest.TempPathFactory) -> tuple[Table, CommandResult]:
    """A shard that was applied before its soup, and the result of that apply."""
    table = laid.copied(tmp_path_factory.mktemp("too-early") / "copy")
    result = table.apply("cats")
    assert table.apply("soup").code == 0
    return table, result


@pytest.fixture
def trained(too_early: tuple[Table, CommandResult], tmp_path: Path) -> Iterator[Table]:
    """A soup with one shard."""
    table = too_early[0].copied(tmp_path / "copy")
    yield table
    table.down()


def test_a_claim_without_a_folder_is_refused_before_anything_is_stored(table: Table) -> None:
    result = table.run("apply", "-f", table.root / "soup.yaml")

    assert result.code == 3
    assert "no folder is set for the claim here" in result.err
    assert "--claim here=FOLDER" in result.err
    assert not (table.state / "objects").exists()


def test_one_wrong_manifest_keeps_all_of_them_out(table: Table) -> None:
    (table.root / "bad.yaml").write_text(
        (table.root / "cats.yaml").read_text().replace("soupRef", "soupReff")
    )

    result = table.apply("soup", "bad")

    assert result.code == 3
    assert "soupReff" in result.err
    assert "did you mean" in result.err
    assert not (table.state / "objects").exists()


def test_a_folder_in_use_is_refused_with_the_pid_of_its_process(table: Table) -> None:
    table.state.mkdir()
    with (table.state / "lock").open("w+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(f"{os.getpid()}\n")
        lock.flush()

        result = table.apply("soup")

    assert result.code == 5
    assert f"is in use by process {os.getpid()}" in result.err
    assert "help:" in result.err


def test_a_shard_whose_soup_does_not_exist_yet_says_so_and_waits(
    too_early: tuple[Table, CommandResult],
) -> None:
    table, result = too_early

    assert result.code == 4
    assert "there is no Soup tiny here" in result.err
    assert "apply one of that name" in result.err
    assert table.shards()["cats"].status.ingredient is not None


def test_omitted_data_is_reported_by_apply_get_and_conditions(table: Table) -> None:
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
"""How the data of each shard is broken, by the shard's name."""


@pytest.fixture(scope="module")
def refused(
    too_early: tuple[Table, CommandResult], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Table, CommandResult]:
    """A soup with one good shard and all bad ones, and the result of applying the bad ones."""
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
def test_bad_data_or_another_digest_is_reported_for_its_shard(
    refused: tuple[Table, CommandResult], name: str, reason: str, words: tuple[str, ...]
) -> None:
    _, result = refused

    assert result.code == 4
    _, _, rest = result.err.partition(f"datashard/{name} {reason}: ")
    sentence = rest.partition("datashard/")[0]
    assert all(word in sentence for word in words), result.err
    assert "help:" in sentence


def test_bad_data_stops_its_shard_and_nothing_else(
    refused: tuple[Table, CommandResult], too_early: tuple[Table, CommandResult]
) -> None:
    table, result = refused

    assert "datashard/cats" not in result.err
    assert table.weights() == too_early[0].weights()
    [ingredient] = (table.state / "store/default/shards").rglob("*.safetensors")
    assert table.shards()["cats"].metadata.uid in ingredient.parts
    assert not list((table.state / "store").rglob("*.unfinished"))


def test_a_trained_shard_no_longer_needs_its_data(trained: Table) -> None:
    shutil.rmtree(trained.root / "data/cats")

    result = trained.apply("soup", "cats")

    assert result.code == 0, result.err
    assert result.out.startswith("soup/tiny unchanged\ndatashard/cats unchanged\n")


def test_a_change_of_an_immutable_field_is_refused_with_help(trained: Table) -> None:
    source = {"pvc": {"claimName": "here", "path": "data/heldout"}}
    write(
        trained.root / "cats.yaml",
        "DataShard",
        "cats",
        {"soupRef": {"name": "tiny"}, "source": source},
    )

    result = trained.apply("cats")

    assert result.code == 3
    assert "DataShard cats: spec.source cannot be changed" in result.err
    assert "make a new DataShard" in result.err


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

    result = trained.apply("dogs")

    assert result.code == 4
    assert "soup/tiny BadWeights" in result.err
    assert ingredient.parent.name in result.err
    assert trained.weights() == served


def test_a_folder_that_cannot_be_written_is_refused_by_name(table: Table) -> None:
    (table.root / "a-file").write_text("")
    blocked = Table(table.root, "a-file/state")

    result = blocked.apply("soup")

    assert result.code == 7
    assert "a-file" in result.err
    assert "help:" in result.err


def test_a_soup_that_shards_still_name_is_not_deleted(trained: Table) -> None:
    result = trained.run("delete", "soup/tiny")

    assert result.code == 4
    assert "Soup tiny cannot be deleted: shards still name it: cats" in result.err


def test_a_missing_object_cannot_be_deleted(table: Table) -> None:
    result = table.run("delete", "shard/unicorns")

    assert result.code == 3
    assert "there is no DataShard unicorns in the namespace default" in result.err


def test_a_soup_that_was_deleted_begins_anew_when_it_is_applied_again(table: Table) -> None:
    assert table.apply("soup").code == 0
    before = table.soup().metadata.uid

    assert table.run("delete", "soup/tiny").code == 0
    assert table.run("get", "soups").err.startswith("no soups in")
    again = table.apply("soup")

    assert again.code == 0, again.err
    assert table.soup().metadata.uid != before
    assert table.weights()
