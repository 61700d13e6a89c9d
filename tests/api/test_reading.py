"""What a person hears who wrote a manifest that is not quite right."""

import json
from pathlib import Path

import pytest
import yaml

from stockpot.api.documents import documents
from stockpot.api.reading import read_file, read_lenient, read_paths, read_strict, read_text
from stockpot.api.v1alpha1 import DataShard, Inclusion, Soup, SoupRevision
from stockpot.api.writing import yaml_text
from stockpot.errors import ExitCode, Refused

SHARD = """\
apiVersion: stockpot.dev/v1alpha1
kind: DataShard
metadata: {name: food}
spec:
  soupRef: {name: emoji}
  source: {s3: {prefix: data/food/}}
"""
SOUP = """\
apiVersion: stockpot.dev/v1alpha1
kind: Soup
metadata: {name: emoji}
spec:
  base: {s3: {prefix: bases/emoji/}}
"""


def complaints(text: str) -> list[str]:
    return [str(complaint) for complaint in read_text(text, "food.yaml").complaints]


def test_a_shard_is_read_with_what_it_leaves_out() -> None:
    [shard] = read_text(SHARD, "food.yaml").objects

    assert isinstance(shard, DataShard)
    assert shard.metadata.namespace == "default"
    assert (shard.spec.weight, shard.spec.inclusion) == ("1", Inclusion.INCLUDED)


def test_a_weight_without_quotes_is_answered_with_the_quotes() -> None:
    assert complaints(SHARD + "  weight: 0.5\n") == [
        'food.yaml:7: spec.weight is 0.5, a number; write it in quotes: weight: "0.5"'
    ]


@pytest.mark.parametrize("weight", ["-1", '"-1"', '"1e3"', '"0.5.5"', "1e400", ".nan"])
def test_a_weight_that_is_no_decimal_of_0_or_more_is_refused(weight: str) -> None:
    [complaint] = complaints(SHARD + f"  weight: {weight}\n")

    assert complaint.startswith(f"food.yaml:7: spec.weight is {weight}; ")
    assert complaint.endswith('write a decimal of 0 or more in quotes: weight: "0.5"')


def test_an_unknown_field_is_answered_with_the_nearest_known_one() -> None:
    assert complaints(SHARD + '  wieght: "1"\n') == [
        "food.yaml:7: unknown field spec.wieght; did you mean weight?"
    ]


def test_an_unknown_field_that_is_like_none_is_answered_with_all_known_ones() -> None:
    [complaint] = complaints(SHARD.replace("{prefix: data/food/}", "{prefix: a, zzz: b}"))

    assert complaint == "food.yaml:6: unknown field spec.source.s3.zzz; known here: prefix"


def test_two_sources_are_one_too_many() -> None:
    both = SHARD.replace("{s3: {prefix: data/food/}}", "{s3: {prefix: a}, pvc: {claimName: b}}")

    [complaint] = complaints(both)

    assert complaint.startswith("food.yaml:6: spec.source: exactly one source is needed")
    assert complaint.endswith("found s3 and pvc")


def test_no_source_is_one_too_few() -> None:
    [complaint] = complaints(SHARD.replace("{s3: {prefix: data/food/}}", "{}"))

    assert complaint.endswith("one of s3 and pvc; found none")


def test_a_missing_soup_is_answered_with_an_example() -> None:
    assert complaints(SHARD.replace("  soupRef: {name: emoji}\n", "")) == [
        "food.yaml:4: spec.soupRef is missing; write, for example, soupRef: {name: emoji}"
    ]


def test_a_truth_value_that_should_have_been_a_word_is_answered_with_quotes() -> None:
    [complaint] = complaints(SOUP + "  training: {mixedPrecision: no}\n")

    assert complaint == (
        "food.yaml:6: spec.training.mixedPrecision is no, which YAML reads as a truth value; "
        'write it in quotes: mixedPrecision: "no"'
    )


def test_a_number_in_quotes_is_answered_without_them() -> None:
    [complaint] = complaints(SOUP + '  training: {seed: "5"}\n')

    assert complaint.endswith('spec.training.seed is "5", a string; write it without quotes')


def test_a_word_that_is_not_known_is_answered_with_those_that_are() -> None:
    [complaint] = complaints(SHARD + "  inclusion: included\n")

    assert complaint.endswith("spec.inclusion is included; write Included or Excluded")


def test_a_field_with_nothing_in_it_is_said_to_be_empty() -> None:
    [complaint] = complaints(SOUP + "  membership:\n")

    assert complaint.endswith("spec.membership is empty; leave it out, or say what it is")


def test_a_name_that_leaves_no_room_is_refused_with_its_length() -> None:
    [complaint] = complaints(SHARD.replace("name: food", f"name: {'f' * 51}"))

    assert complaint.endswith("write at most 50 letters; it has 51")


def test_a_key_that_stands_twice_is_refused() -> None:
    # YAML would take the second in silence.
    assert complaints(SHARD + '  weight: "1"\n  weight: "2"\n') == [
        "food.yaml:8: weight is written twice"
    ]


def test_every_mistake_of_every_document_is_shown_in_the_order_of_the_file() -> None:
    text = SHARD + "  weight: 0.5\n  inclusion: no\n---\n" + SOUP + "  suspend: maybe\n"

    assert [line.split(": ")[0] for line in complaints(text)] == [
        "food.yaml:7",
        "food.yaml:8",
        "food.yaml:15",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [\n", "this is not YAML: "),
        ("a: !!python/object:os.system 1\n", "this is not YAML: "),
        ("a: !!set {b}\n", "this is not YAML: "),
        ("{" * 5000, "nested too deeply"),
        ("a: &a [*a]\n", "more than 100,000 values"),
        ("\x00", "this is not YAML: "),
        ("", "there is no object in it"),
        ("--- \n--- \n", "there is no object in it"),
        ("- 1\n", "this is no object"),
        ("kind: Soup\n", "apiVersion is missing"),
        ("apiVersion: v1\nkind: DataShard\n", "apiVersion is v1"),
        ("apiVersion: stokpot.dev/v1alpha1\nkind: Soups\n", "apiVersion is stokpot.dev"),
        ("apiVersion: stockpot.dev/v1alpha1\nkind: Suop\n", "kind is Suop"),
        ("apiVersion: stockpot.dev/v1alpha1\nkind: SoupRevision\n", "writes these itself"),
        ("apiVersion: stockpot.dev/v1alpha1\nkind: {a: b}\n", "kind is {'a': 'b'}"),
        ("apiVersion: [1]\nkind: [2]\n", "apiVersion is [1]"),
    ],
)
def test_what_is_no_manifest_is_said_to_be_none(text: str, says: str) -> None:
    [complaint] = complaints(text)

    assert says in complaint


def test_a_few_lines_that_stand_for_millions_are_refused_before_they_are_built() -> None:
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 10)
    )

    [complaint] = complaints(text)

    assert complaint.endswith("it has more than 100,000 values")


def test_a_date_is_a_string_as_it_is_for_the_api_server() -> None:
    dated = SHARD.replace("{name: food}", "{name: food, annotations: {since: 2026-11-22}}")

    [shard] = read_text(dated, "food.yaml").objects

    assert shard.metadata.annotations == {"since": "2026-11-22"}


def test_what_the_server_wrote_into_a_file_is_left_aside() -> None:
    read_back = SHARD.replace("{name: food}", "{name: food, uid: x, generation: 3}")

    read = read_text(read_back + "status: {records: 12}\n", "food.yaml")

    [shard] = read.objects
    assert (shard.metadata.uid, shard.metadata.generation) == ("", 0)
    [note] = read.notes
    assert str(note) == (
        "food.yaml:3: DataShard food: metadata.generation, metadata.uid, status is what the API "
        "server wrote, and is left aside"
    )


def test_a_folder_is_read_file_by_file_in_order(tmp_path: Path) -> None:
    (tmp_path / "2-food.yaml").write_text(SHARD)
    (tmp_path / "1-soup.yml").write_text(SOUP)
    (tmp_path / "notes.md").write_text("no manifest")

    assert [read.kind for read in read_file(tmp_path)] == ["Soup", "DataShard"]


def test_a_folder_without_manifests_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"there is no \.yaml file in") as caught:
        read_file(tmp_path)

    assert caught.value.exit_code == ExitCode.INVALID


def test_an_object_that_two_files_say_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SHARD)
    (tmp_path / "b.yaml").write_text(SHARD)

    with pytest.raises(Refused, match="DataShard food is written twice in these files"):
        read_file(tmp_path)


def test_one_mistake_is_a_sentence_with_its_help_apart(tmp_path: Path) -> None:
    file = tmp_path / "food.yaml"
    file.write_text(SHARD + "  weight: 0.5\n")

    with pytest.raises(Refused) as caught:
        read_file(file)

    assert caught.value.message == f"{file}:7: spec.weight is 0.5, a number"
    assert caught.value.help == 'write it in quotes: weight: "0.5"'


def test_several_mistakes_are_all_in_one_error(tmp_path: Path) -> None:
    file = tmp_path / "food.yaml"
    file.write_text(SHARD + "  weight: 0.5\n  inclusion: no\n")

    with pytest.raises(Refused) as caught:
        read_file(file)

    assert caught.value.message.splitlines()[0] == "2 mistakes"
    assert len(caught.value.message.splitlines()) == 3


@pytest.mark.parametrize("make", ["missing", "binary"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, make: str) -> None:
    file = tmp_path / "food.yaml"
    if make == "binary":
        file.write_bytes(b"\xff\xfe\x00")

    [complaint] = read_paths([file]).complaints

    assert complaint.place == str(file)


def test_a_value_without_a_file_is_read_alike() -> None:
    value = json.loads(json.dumps({"apiVersion": "stockpot.dev/v1alpha1", "kind": "Soup"}))

    with pytest.raises(Refused, match=r"metadata is missing[\s\S]*spec is missing"):
        read_strict(value)


def test_a_stored_object_of_a_newer_version_is_read_without_its_new_fields() -> None:
    [shard] = read_text(SHARD, "food.yaml").objects
    stored = shard.model_dump(mode="json")
    stored["spec"]["audience"] = "everybody"
    stored["status"]["mood"] = "good"

    assert read_lenient(stored) == shard


def test_a_stored_object_of_a_kind_that_users_do_not_write_is_read() -> None:
    digest = "sha256:" + "0" * 64
    revision = read_lenient(
        {
            "apiVersion": "stockpot.dev/v1alpha1",
            "kind": "SoupRevision",
            "metadata": {"name": "emoji-00000000"},
            "spec": {
                "soupRef": {"name": "emoji", "uid": "u"},
                "recipeDigest": digest,
                "weightsDigest": digest,
            },
        }
    )

    assert isinstance(revision, SoupRevision)
    assert revision.spec.parts == ()


def test_a_stored_object_that_is_broken_is_refused_by_name() -> None:
    broken = {"apiVersion": "stockpot.dev/v1alpha1", "kind": "Soup", "metadata": {"name": "emoji"}}

    with pytest.raises(Refused, match="Soup emoji cannot be understood: spec is missing"):
        read_lenient(broken)


@pytest.mark.parametrize(
    "text", ["1e-4", "y", "08", "0o10", "1_000", "null", "~", "2026-11-22", "é"]
)
def test_what_is_written_is_read_as_the_same_by_pyyaml_and_by_kubectl(text: str) -> None:
    written = yaml_text({"value": text, text: [text]})

    [document] = documents(written, "food.yaml")

    assert document.value == yaml.safe_load(written) == {"value": text, text: [text]}


def test_what_was_read_is_written_and_read_again_the_same() -> None:
    [soup] = read_text(SOUP, "soup.yaml").objects

    assert Soup.model_validate_json(soup.model_dump_json()) == soup
