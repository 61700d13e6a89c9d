"""What lint answers, word for word, to everything that people get wrong."""

from pathlib import Path

import pytest
from tests.manifest_corpus import JSON, LISTED, SHARD, SOUP, source

from stockpot.api.options import Installed
from stockpot.api.reading import read_paths, read_text

LEAVES = "path may not leave the claim: name a folder below its root, without .."
JOINED = "write path without . and //: the names of folders, joined by single slashes"
PLAIN = "write path without backslashes and control characters: folders are joined by /"
CLAIM = (
    "claimName is the name of a PersistentVolumeClaim: small letters a-z, digits, - and ., and a "
    "letter or digit at each end"
)
TIME = "write a time with its zone: 2027-01-01T00:00:00Z"
RECORDS = (
    "name records in excludeRecords by their path inside the data folder, without a leading /, or "
    "by digest: sha256: and 64 digits of 0-9 and a-f"
)
LETTERS = "write at most 63 letters, digits, -, _ and ., with a letter or digit at each end"
ADAMW = "learningRate, beta1, beta2, weightDecay, epsilon, maxGradNorm"


BUILT_IN = Installed()


def complaints_of(text: str, installed: Installed | None = BUILT_IN) -> list[str]:
    return [str(complaint) for complaint in read_text(text, "f.yaml", installed).complaints]


PATHS = {
    "../x": ("../x", LEAVES),
    "..": ("..", LEAVES),
    "a/../../b": ("a/../../b", LEAVES),
    "a/..": ("a/..", LEAVES),
    "./a": ("./a", JOINED),
    "a//b": ("a//b", JOINED),
    ".": (".", JOINED),
    "/a": ("/a", "write path without a leading /: it begins at the root of the claim"),
    '"..\\\\x"': ("..\\x", PLAIN),
    '"a\\0b"': ("'a\\x00b'", PLAIN),
    '"a\\nb"': ("'a\\nb'", PLAIN),
}


@pytest.mark.parametrize("written", PATHS)
def test_a_path_that_leaves_its_claim_or_is_not_used_as_it_stands(written: str) -> None:
    shown, advice = PATHS[written]

    complaints = complaints_of(source(f"{{pvc: {{claimName: d, path: {written}}}}}"))

    assert complaints == [f"f.yaml:6: spec.source.pvc.path is {shown}; {advice}"]


@pytest.mark.parametrize(
    ("soup", "place"),
    [
        ("base: {pvc: {claimName: b, path: ../x}}", "5: spec.base.pvc.path is ../x; path"),
        ("base: {s3: {prefix: a/../b}}", "5: spec.base.s3.prefix is a/../b; prefix"),
    ],
)
def test_a_base_and_held_out_records_may_not_be_elsewhere_either(soup: str, place: str) -> None:
    text = SOUP.replace("base: {s3: {prefix: bases/emoji/}}", soup)
    held_out = SOUP + "  evaluation: {source: {pvc: {claimName: b, path: ../x}}}\n"

    assert complaints_of(text)[0].startswith(f"f.yaml:{place} may not leave the ")
    assert complaints_of(held_out) == [
        f"f.yaml:6: spec.evaluation.source.pvc.path is ../x; {LEAVES}"
    ]


SHARDS = {
    'weight: "1e3"': 'spec.weight is "1e3"; write a decimal of 0 or more in quotes: weight: "0.5"',
    "weight: y": (
        'spec.weight is y, which YAML reads as a truth value; write it in quotes: weight: "y"'
    ),
    "weight: 08": 'spec.weight is 08; write a decimal of 0 or more in quotes: weight: "0.5"',
    "weight:": "spec.weight is empty; leave it out, or say what it is",
    "expireAt: 2027-01-01": f"spec.expireAt is 2027-01-01; {TIME}",
    'expireAt: "2027-01-01T00:00:00+24:00"': (
        f'spec.expireAt is "2027-01-01T00:00:00+24:00"; {TIME}'
    ),
    "expireAt: 2027-02-29T00:00:00Z": (
        "spec.expireAt is 2027-02-29T00:00:00Z: day is out of range for month"
    ),
    "excludeRecords: [/a.png]": f"spec.excludeRecords cannot be so; {RECORDS}",
    "excludeRecords: [sha256:abc]": f"spec.excludeRecords cannot be so; {RECORDS}",
    "inclusion: off": (
        "spec.inclusion is off, which YAML reads as a truth value; write it in quotes: "
        'inclusion: "off"'
    ),
    "expire_at: x": "unknown field spec.expire_at; did you mean expireAt?",
    "Digest: x": "unknown field spec.Digest; did you mean digest?",
}


@pytest.mark.parametrize("line", SHARDS)
def test_a_field_of_a_shard(line: str) -> None:
    assert complaints_of(SHARD + f"  {line}\n") == [f"f.yaml:7: {SHARDS[line]}"]


SOUPS = {
    "training: {method: {name: Lora}}": (
        "there is no training method Lora; there is FineTune, LoRA; did you mean LoRA?"
    ),
    "training: {method: {name: Studio}}": (
        "there is no training method Studio; there is FineTune, LoRA; install a package with an "
        "entry point Studio in stockpot.training (on a cluster, in both images), or change "
        "training.method of the Soup"
    ),
    "training: {method: {name: finetune}}": (
        "there is no training method finetune; there is FineTune, LoRA; did you mean FineTune?"
    ),
    'training: {method: {name: FineTune, options: {rank: "4"}}}': (
        "FineTune has no option rank; it has none at all; remove it"
    ),
    "training: {optimizer: {name: Adam}}": (
        "there is no optimizer Adam; there is AdamW; did you mean AdamW?"
    ),
    "training: {optimizer: {name: Lion}}": (
        "there is no optimizer Lion; there is AdamW; change training.optimizer of the Soup"
    ),
    'training: {optimizer: {options: {lr: "1e-4"}}}': (
        f"AdamW has no option lr; its options are {ADAMW}; did you mean learningRate?"
    ),
    'training: {optimizer: {options: {learning_rate: "1e-4"}}}': (
        f"AdamW has no option learning_rate; its options are {ADAMW}; did you mean learningRate?"
    ),
    "training: {optimizer: {options: {learningRate: 1e-4}}}": (
        "spec.training.optimizer.options.learningRate is 1e-4, a number; write it in quotes: "
        'learningRate: "1e-4"'
    ),
    'training: {optimizer: {options: {learningRate: "1e"}}}': (
        "AdamW's learningRate is '1e', which is no decimal number"
    ),
    'training: {optimizer: {options: {learningRate: "0"}}}': (
        "AdamW's learningRate is 0; it must be above 0"
    ),
    'training: {optimizer: {options: {beta2: "1"}}}': "AdamW's beta2 is 1; it must be below 1",
    'training: {optimizer: {options: {weightDecay: "-1"}}}': (
        "AdamW's weightDecay is '-1', which is no decimal number"
    ),
    'training: {snrGamma: "0"}': (
        "spec.training.snrGamma is 0; snrGamma must be above 0, such as 5; leave it out to weigh "
        "every timestep the same"
    ),
    'training: {ema: {decay: "1"}}': (
        "spec.training.ema.decay is 1; decay must be below 1: an average with all of its memory "
        "never leaves the base"
    ),
    'training: {proportionEmptyPrompts: "1.5"}': (
        "spec.training.proportionEmptyPrompts is 1.5; proportionEmptyPrompts is a share of all "
        "captions: at most 1"
    ),
    "training: {lrWarmupSteps: 600}": (
        "spec.training.lrWarmupSteps is 600; lrWarmupSteps may not be above maxTrainSteps: the "
        "warm-up would never end"
    ),
    "training: {max_train_steps: 5}": (
        "unknown field spec.training.max_train_steps; did you mean maxTrainSteps?"
    ),
    "merge: {weighting: {name: Declaredd}}": (
        "there is no weighting Declaredd; there is Declared; did you mean Declared?"
    ),
    'merge: {weighting: {name: Declared, options: {power: "2"}}}': (
        "Declared has no option power; it has none at all; remove it"
    ),
    "evaluation: {suite: [{name: fid}]}": (
        "there is no evaluator fid; there is heldout_loss, samples, style; install a package with "
        "an entry point fid in stockpot.evaluator (on a cluster, in both images), or change "
        "evaluation.suite of the Soup"
    ),
    'evaluation: {suite: [{name: style, options: {count: "0", prompts: a}}]}': (
        "style's count is 0; it must be at least 1"
    ),
    'evaluation: {suite: [{name: style, options: {count: "2.0", prompts: a}}]}': (
        "style's count is '2.0', which is no whole number"
    ),
    'evaluation: {suite: [{name: style, options: {count: "1", prompts: a|b}}]}': (
        "style's count is 1, and so 1 of the 2 prompts would not be drawn"
    ),
    "evaluation: {suite: [{name: samples, options: {prompts: a||b}}]}": (
        "samples's prompts has an empty one; write them with | between two, and no more"
    ),
    "evaluation: {suite: [{name: samples, options: {prompts: a|a}}]}": (
        "samples's prompts has 'a' twice; write each once"
    ),
    'evaluation: {suite: [{name: samples, options: {prompts: a, rows: "2"}}]}': (
        "samples's rows counts held-out captions, and prompts are given; leave one out"
    ),
    "evaluation: {suite: [{name: heldout_loss}]}": (
        "heldout_loss needs held-out records, and the soup names none; name "
        "spec.evaluation.source, or take heldout_loss out of the suite"
    ),
    "evaluation: {suite: [{name: style}]}": (
        "style has no prompts, because there are no held-out records; name "
        "spec.evaluation.source, or give style prompts: a cat|a dog"
    ),
    "evaluation: {source: {s3: {prefix: a}}, suite: [{name: style}, {name: style}]}": (
        "style is in the suite twice: one's figures would replace the other's; keep one of them"
    ),
}


@pytest.mark.parametrize("line", SOUPS)
def test_a_field_of_a_soup(line: str) -> None:
    assert complaints_of(SOUP + f"  {line}\n") == [f"f.yaml:6: {SOUPS[line]}"]


def test_names_are_not_looked_at_where_nobody_says_what_is_installed() -> None:
    assert complaints_of(SOUP + "  training: {method: {name: Lora}}\n", None) == []


METADATA = {
    "{name: food, labels: {a: x y}}": (
        f"metadata.labels.a is 'x y'; {LETTERS}; other text can be an annotation"
    ),
    "{name: food, labels: {a/b/c: x}}": (
        "metadata.labels has the key 'a/b/c'; write at most one slash, between a domain and a "
        "name: example.com/name"
    ),
    "{name: food, labels: {Acme/tier: x}}": (
        "metadata.labels has the key 'Acme/tier'; write a domain before the slash, in small "
        "letters: example.com/name"
    ),
    "{name: food, annotations: {a b: x}}": (f"metadata.annotations has the key 'a b'; {LETTERS}"),
    "{name: food, creationTimestamp: yesterday}": (
        "metadata.creationTimestamp is yesterday, and it is a time, as 2027-01-01T00:00:00Z; leave "
        "it out: the API server writes it"
    ),
    "{name: n}": (
        'metadata.name is n, which YAML reads as a truth value; write it in quotes: name: "n"'
    ),
    "{generateName: food-, name: food}": (
        "unknown field metadata.generateName; did you mean generation?"
    ),
}


@pytest.mark.parametrize("metadata", METADATA)
def test_metadata(metadata: str) -> None:
    complaints = complaints_of(SHARD.replace("{name: food}", metadata))

    assert complaints == [f"f.yaml:3: {METADATA[metadata]}"]


CLAIMS = ("My_Data", "a/b", "..", "-a", "a..b", "é")


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_that_no_cluster_could_have(name: str) -> None:
    assert complaints_of(source(f"{{pvc: {{claimName: {name}}}}}")) == [
        f"f.yaml:6: spec.source.pvc.claimName is {name}; {CLAIM}"
    ]


FILES = {
    "a tab": (
        SHARD.replace("  soupRef", "\tsoupRef"),
        (
            "f.yaml:5: this is not YAML: found character '\\t' that cannot start any token: write "
            "spaces in place of tabs"
        ),
    ),
    "a template": (
        SHARD.replace("food", "{{ .Values.name }}"),
        (
            "f.yaml:6: this is not YAML: expected ',' or '}', but got '{'; a Helm template has to "
            "be rendered first: helm template CHART"
        ),
    ),
    "a directive": (
        "%YAML 1.2\n---\n" + SHARD,
        "f.yaml:1: this is not YAML: a line that begins with % is not read: remove it",
    ),
    "JSON and more": (
        JSON + "\n# note\n",
        "f.yaml:2: this is not YAML: after a JSON value comes something that is none",
    ),
    "a key twice": (
        SHARD.replace("{name: food}", '{name: food, annotations: {yes: a, "true": b}}'),
        "f.yaml:3: true is written twice",
    ),
    "no key": (
        SHARD.replace("{name: food}", "{name: food, annotations: {~: a}}"),
        "f.yaml:3: this is not YAML: a key is no text",
    ),
    "a status of another program": (
        SHARD + "status: {mood: good}\n",
        (
            "f.yaml:7: unknown field status.mood; known here: baseDigest, comparison, conditions, "
            "dataDigest, firstTrainedAt, former, foundRecords, ingredient, leftOut, "
            "observedGeneration, omissions, records, recordsAskedAt, request, retried, state, "
            "training, trainingKey, unlearning"
        ),
    ),
    "an item of a list": (
        f"apiVersion: v1\nkind: List\nitems:\n{LISTED}    weight: 1\n",
        'f.yaml:10: spec.weight is 1, a number; write it in quotes: weight: "1"',
    ),
    "a list of nothing": (
        "apiVersion: stockpot.dev/v1alpha1\nkind: DataShardList\nitems: []\n",
        "f.yaml:2: kind is DataShardList; a list has objects below `items:`",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file(name: str) -> None:
    text, sentence = FILES[name]

    assert complaints_of(text) == [sentence]


def test_a_list_and_several_json_values_are_read_one_by_one() -> None:
    listed = read_text(f"apiVersion: v1\nkind: List\nitems:\n{LISTED}", "f.yaml")
    stream = read_text(JSON + "\n" + JSON.replace('"food"', '"fish"', 1), "f.json")

    assert [thing.metadata.name for thing in listed.objects] == ["food"]
    assert [thing.metadata.name for thing in stream.objects] == ["food", "fish"]
    assert stream.manifests[1].place("spec") == "f.json:2"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_says_how_a_file_is_written(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "f.yaml").write_bytes(SHARD.encode(encoding))

    assert read_paths([tmp_path / "f.yaml"]).complaints == ()


def test_a_folder_is_read_and_whatever_else_is_in_it_is_counted_and_named(tmp_path: Path) -> None:
    (tmp_path / "food.yaml").write_text(SHARD)
    (tmp_path / "soup.json").write_text(
        '{"apiVersion": "stockpot.dev/v1alpha1", "kind": "Soup", "metadata": {"name": "emoji"}, '
        '"spec": {"base": {"s3": {"prefix": "b"}}}}'
    )
    (tmp_path / "kustomization.yaml").write_text(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"
    )
    (tmp_path / "store.yml").write_text("apiVersion: v1\nkind: Secret\nmetadata: {name: store}\n")
    for name in ("README.md", "b.bak", "SHARD.YAML"):
        (tmp_path / name).write_text("x")
    (tmp_path / "old").mkdir()

    read = read_paths([tmp_path, tmp_path / "food.yaml"])

    assert [thing.metadata.name for thing in read.objects] == ["food", "emoji"]
    assert [str(note).replace(f"{tmp_path}", "DIR") for note in read.notes] == [
        "DIR: 3 files are not read: README.md, SHARD.YAML, b.bak; only .json, .yaml, .yml are",
        "DIR: 1 folder is not read: old; name it too if its manifests are meant",
        "DIR/kustomization.yaml:1: Kustomization is not Stockpot's, and is left aside",
        "DIR/store.yml:1: Secret store is not Stockpot's, and is left aside",
        "DIR/food.yaml: it is named twice, and read once",
    ]


def test_files_of_others_alone_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "pod.yaml"
    file.write_text("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n")

    [complaint] = read_paths([file]).complaints

    assert str(complaint) == f"{file}: there is no DataShard and no Soup in it"


def test_one_object_in_two_files_is_named_with_both_places(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SHARD)
    (tmp_path / "b.yaml").write_text(SOUP + "---\n" + SHARD)

    [complaint] = read_paths([tmp_path]).complaints

    assert str(complaint).replace(str(tmp_path), "DIR") == (
        "DIR/b.yaml:9: DataShard food is written twice in these files, at DIR/a.yaml:3 too; keep "
        "one of them"
    )


def test_one_name_in_two_namespaces_is_no_mistake() -> None:
    other = SHARD.replace("{name: food}", "{name: food, namespace: studio}")

    assert complaints_of(SHARD + "---\n" + other) == []
