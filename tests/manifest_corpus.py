"""Manifests of every kind that people get wrong, for whoever judges them: lint, and the API server.

Most are right but for one thing. Where both must say the same, nothing stands beside it.
"""

from collections.abc import Iterator, Mapping

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
JSON = (
    '{"apiVersion": "stockpot.dev/v1alpha1", "kind": "DataShard", "metadata": {"name": "food"}, '
    '"spec": {"soupRef": {"name": "emoji"}, "source": {"s3": {"prefix": "data/food/"}}}}'
)
LISTED = "".join(f"  {line}\n" for line in SHARD.splitlines()).replace("  api", "- api", 1)

PATHS = (
    *("food", "food/", "a/b", "a/..b", "a..", "...", "~/x", "a b", "é", '"%2e%2e"', "C:/x"),
    *("../x", "..", "a/..", "a/../b", "./a", ".", "a/./b", "a//b", "a//", "/a", "//a", "/"),
    *('"a\\\\b"', '"..\\\\x"', '"a\\0"', '"a\\nb"', '"a\\tb"', '"a\\x7f"', "5", "yes", "1e3"),
    *("[a]", "{a: b}", "file:///a", "s3://bucket/a", f'"{"x" * 200}"', f'"{"x/" * 257}"'),
)
FIELDS: Mapping[str, tuple[str, ...]] = {
    # The line of a DataShard's spec, with everything that it may say.
    "weight": (
        *('"1"', '"0"', '"0.5"', '"999999999"', '"0.123456789"', '"1000000000"', '"0.1234567890"'),
        *('"-1"', '"+1"', '"1."', '".5"', '"01"', '"1e3"', '"1,5"', '" 1"', '""', '"nan"', '"1/3"'),
        *("1", "0.5", "yes", "[1]", '"1\\n"', '"\u0661"'),
    ),
    "inclusion": ("Included", "Excluded", "included", '""', "no", "0"),
    "expireAt": (
        *("2027-01-01T00:00:00Z", '"2027-01-01T00:00:00+02:00"', '"2028-02-29T00:00:00Z"'),
        *("2027-01-01", '"2027-01-01 00:00:00Z"', '"2027-01-01T00:00:00"', "tomorrow", "20270101"),
        *('"2027-02-29T00:00:00Z"', '"2027-13-01T00:00:00Z"', '"2027-01-01T24:00:00Z"'),
        *('"2027-01-01T00:00:60Z"', '"2027-01-01T00:00:00+24:00"', '"0000-01-01T00:00:00Z"'),
        *('"2027-01-01T00:00:00.5Z"', '"2027-01-01t00:00:00z"', '""'),
    ),
    "digest": (
        *(f"sha256:{'a' * 64}", f"sha256:{'A' * 64}", f"sha256:{'a' * 63}", "a" * 64, '""'),
    ),
    "excludeRecords": (
        *("[]", "[a.png]", "[a.png, a.png]", "[shard.tar/./a.png]", f"['sha256:{'a' * 64}']"),
        *("[/a.png]", "[sha256:abc]", '[""]', "[5]", "a.png", f"['{'x' * 201}']"),
        f"[{', '.join(f'a{number}' for number in range(501))}]",
    ),
    "relearn": (
        *("emoji-1", "'emoji-1,emoji-2'", '""', "A", "a.b", "5", f'"{"r" * 64}"'),
        *("'emoji-1,'", "',a'", "'a, b'", f'"{"r" * 63},{"r" * 63}"', f'"a,{"r" * 64}"'),
    ),
    "wieght": ('"1"',),
    "Weight": ('"1"',),
}
NAMES = (
    *("food", '"1"', "2026-11-22", "f" * 50, "f" * 51, "Food", "a.b", "a_b", "a-", '""', "1", "y"),
    *("08", "1e3", "1:30", '"food\\n"', "füd", "a/b"),
)
METADATA = (
    *("{name: food, labels: {app.kubernetes.io/name: A_b.c}}", '{name: food, labels: {a: ""}}'),
    *('{name: food, labels: {a: "x y"}}', f'{{name: food, labels: {{a: "{"x" * 64}"}}}}'),
    *('{name: food, labels: {"a b": x}}', "{name: food, labels: {a/b/c: x}}"),
    *("{name: food, labels: {A.b/c: x}}", '{name: food, labels: {"": x}}'),
    *('{name: food, labels: {a: "-x"}}', "{name: food, labels: {a: é}}"),
    *("{name: food, labels: {a: 1}}", "{name: food, labels: [a]}", "{name: food, labels: {a: on}}"),
    *(
        '{name: food, annotations: {A.B/C: "any thing, é"}}',
        "{name: food, annotations: {since: 12:30}}",
    ),
    *('{name: food, annotations: {"a b": x}}', "{name: food, annotations: {a: 1e-4}}"),
    *(f"{{name: food, annotations: {{a: {'x' * 262_144}}}}}", "{name: food, annotations: {1: a}}"),
    *("{name: food, annotations: {~: a}}", "{name: food, annotations: {[1]: a}}"),
    *("{name: food, finalizers: [stockpot.dev/unlearn]}", '{name: food, finalizers: ["a b"]}'),
    *("{name: food, finalizers: [orphan, foregroundDeletion]}", "{name: food, finalizers: [1]}"),
    *(
        "{name: food, labelz: {}}",
        "{generateName: food-}",
        "{namespace: default}",
        "[food]",
        "food",
    ),
    *("{name: food, namespace: Default}", "{name: food, namespace: 1}"),
    *("{name: food, uid: a, generation: 7}", '{name: food, generation: "7"}'),
    *("{name: food, resourceVersion: 5}", "{name: food, creationTimestamp: null}"),
    *("{name: food, creationTimestamp: yesterday}", "{name: food, ownerReferences: [{name: x}]}"),
)
SOURCES = (
    *("{}", "{s3: {}}", "{s3: {prefix: a}, pvc: {claimName: b}}", "{pvc: {path: a}}", "a", "[]"),
    *("{gcs: {a: b}}", "{s3: {prefix: a, bucket: b}}", '{s3: {prefix: ""}}', "{s3: null}"),
    *(f"{{pvc: {{claimName: {name}}}}}" for name in ("d", "a.b", "D", "a_b", "a..b", "a/b", '""')),
)
SOUPS = (
    *("training: {maxTrainSteps: 1}", "training: {maxTrainSteps: 5.0}", "training: {seed: 1e15}"),
    *("training: {maxTrainSteps: 1_000}", "training: {maxTrainSteps: 010}"),
    *("training: {maxTrainSteps: 0}", 'training: {maxTrainSteps: "5"}', "training: {seed: 1e16}"),
    *("training: {maxTrainSteps: 5.5}", "training: {maxTrainSteps: 99999999999999999999}"),
    *("training: {maxTrainSteps: 1:30}", "training: {max_train_steps: 5}", "training: {steps: 5}"),
    *("training: {gradientCheckpointing: y}", 'training: {gradientCheckpointing: "yes"}'),
    *("training: {mixedPrecision: no}", 'training: {mixedPrecision: "no"}'),
    *("training: {mixedPrecision: FP16}", "training: {lrScheduler: cosine_with_restarts}"),
    *("training: {lrWarmupSteps: 500}", "training: {lrWarmupSteps: 501}"),
    *("training: {lrWarmupSteps: 6, maxTrainSteps: 5}", 'training: {snrGamma: "0.0"}'),
    *('training: {snrGamma: "5"}', "training: {snrGamma: 5}", 'training: {ema: {decay: "1"}}'),
    *('training: {ema: {decay: "0.999999999"}}', "training: {ema: {}}"),
    *('training: {proportionEmptyPrompts: "1.0"}', 'training: {proportionEmptyPrompts: "1.01"}'),
    *("training: {resolution: 4097}", "training: {optimizer: {options: {learningRate: 1e-4}}}"),
    *('training: {optimizer: {learningRate: "1e-4"}}', "training: {method: FineTune}"),
    *(
        "suspend: maybe",
        "suspend: 1",
        "suspend: on",
        "merge: {output: fp64}",
        "serving: {port: 80}",
    ),
    *(
        "membership: {settleSeconds: 10s}",
        "membership: {minShards: -1}",
        "gates: {}",
        "training: 5",
    ),
    *("evaluation: {suite: [heldout_loss]}", "evaluation: {source: {s3: {prefix: ../x}}}"),
    *("unlearning: {onLastShard: serveBase}", "unlearning: {deadlineSeconds: 0}", "store: default"),
)
FILES: Mapping[str, str | bytes] = {
    "a byte order mark": "\ufeff" + SHARD,
    "a mark in the middle": SHARD + "---\n\ufeff" + SOUP,
    "lines as on Windows": SHARD.replace("\n", "\r\n"),
    "UTF-16": SHARD.encode("utf-16"),
    "UTF-16 without a mark": SHARD.encode("utf-16-le"),
    "two documents": SHARD + "--- # the soup\n" + SOUP,
    "an object of others": SHARD + "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n",
    "empty": "",
    "comments": "# nothing\n",
    "text": "hello\n",
    "a sequence": "- 1\n",
    "JSON": JSON,
    "JSON with tabs": JSON.replace(", ", ",\n\t"),
    "JSON after JSON": JSON + "\n" + JSON.replace('"food"', '"fish"', 1),
    "JSON in an array": f"[{JSON}]",
    "JSON with a character in two halves": JSON.replace("data/food/", "\\ud83d\\ude00/"),
    "a list": f"apiVersion: v1\nkind: List\nitems:\n{LISTED}",
    "a list of shards": f"apiVersion: stockpot.dev/v1alpha1\nkind: DataShardList\nitems:\n{LISTED}",
    "a list with a mistake": f"apiVersion: v1\nkind: List\nitems:\n{LISTED}    weight: 1\n",
    "a list of nothing": "apiVersion: v1\nkind: List\nitems: []\n",
    "a list of numbers": "apiVersion: v1\nkind: List\nitems: [3]\n",
    "a tab that indents": SHARD.replace("  soupRef", "\tsoupRef"),
    "an anchor": SHARD.replace("{name: food}", "&a {name: food}"),
    "a merged mapping": SHARD.replace("{name: food}", "{<<: {name: fish}, name: food}"),
    "a directive": "%YAML 1.2\n---\n" + SHARD,
    "half of a character": SHARD.replace("data/food/", '"\\ud800"'),
    "a Helm template": SHARD.replace("food", "{{ .Values.name }}"),
    "a control character": SHARD.replace("food/", "foo\x1b/"),
    "another version": SHARD.replace("v1alpha1", "v1"),
    "another group": SHARD.replace("stockpot.dev/v1alpha1", "v1"),
    "small letters": SHARD.replace("DataShard", "datashard"),
    "no kind": SHARD.replace("kind: DataShard\n", ""),
    "no metadata": SHARD.replace("metadata: {name: food}\n", ""),
    "no spec": SHARD.partition("spec:")[0],
    "Spec": SHARD.replace("spec:", "Spec:"),
    "data beside the spec": SHARD + "data: 3\n",
    "a status": SHARD + "status: {records: 3}\n",
    "a status of others": SHARD + "status: {mood: good}\n",
}

LINT_ALONE: Mapping[str, tuple[str | bytes, str]] = {
    "an empty field": (SHARD + "  weight:\n", "a default would be taken in silence"),
    "an empty block": (SOUP + "  membership:\n", "the same"),
    "an empty namespace": (SHARD.replace("food}", 'food, namespace: ""}'), "the same"),
    "a key twice": (SHARD + '  weight: "1"\n  weight: "2"\n', "one would be lost in silence"),
    "a key twice in JSON": (JSON.replace('{"name"', '{"name": "a", "name"', 1), "the same"),
    "a truth value and its text": (
        SHARD.replace("food}", 'food, annotations: {yes: a, "true": b}}'),
        "the same: both keys are true",
    ),
    "a name that is not used": (SHARD.replace("food}", "food, generateName: x}"), "the same"),
    "a document after dots": (SHARD + "...\n" + SOUP, "kubectl does not read it, and says nothing"),
    "half of a character in JSON": (JSON.replace("data/food/", "\\ud83d/"), "kubectl replaces it"),
    "Latin-1": ((SHARD + "# é\n").encode("latin-1"), "nobody can say which letter is meant"),
    "a tab after a colon": (SHARD.replace("kind: ", "kind:\t"), "PyYAML does not read it"),
}
"""What lint refuses and the API server takes, each with its reason."""


def agreed() -> Iterator[tuple[str, str | bytes]]:
    """Everything that lint and the API server must judge alike, each with a name of its own."""
    for path in PATHS:
        yield f"path: {path}", source(f"{{pvc: {{claimName: d, path: {path}}}}}")
        yield f"prefix: {path}", source(f"{{s3: {{prefix: {path}}}}}")
    for field, values in FIELDS.items():
        for value in values:
            yield f"{field}: {value}", SHARD + f"  {field}: {value}\n"
    for name in NAMES:
        yield f"name: {name}", SHARD.replace("{name: food}", f"{{name: {name}}}")
        yield f"soupRef: {name}", SHARD.replace("{name: emoji}", f"{{name: {name}}}")
    for metadata in METADATA:
        yield f"metadata: {metadata}", SHARD.replace("{name: food}", metadata)
    for value in SOURCES:
        yield f"source: {value}", source(value)
    for line in SOUPS:
        yield line, SOUP + f"  {line}\n"
    for value in ("{s3: {prefix: ../x}}", "{pvc: {claimName: b, path: ../x}}", "{}"):
        yield f"base: {value}", SOUP.replace("{s3: {prefix: bases/emoji/}}", value)
    yield from FILES.items()


def source(value: str) -> str:
    """A DataShard whose data is there."""
    return SHARD.replace("{s3: {prefix: data/food/}}", value)
