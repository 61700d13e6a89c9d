"""What the API server itself refuses, in words that say what to write instead."""

import pytest
import yaml
from tests.controlplane.testbed import ROOT, TestCluster

Shard = dict[str, object]


def shard(**spec: object) -> Shard:
    whole_spec = {"soupRef": {"name": "soup"}, "source": {"s3": {"prefix": "data/food"}}, **spec}
    return {
        "apiVersion": "stockpot.dev/v1alpha1",
        "kind": "DataShard",
        "metadata": {"name": "food"},
        "spec": whole_spec,
    }


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"weight": 0.5}, "weight"),
        ({"weight": "-1"}, "weight"),
        ({"source": {"s3": {"prefix": "a"}, "pvc": {"claimName": "b"}}}, "exactly one"),
        ({"source": {}}, "exactly one"),
        ({"source": {"pvc": {"claimName": "b", "path": "../c"}}}, ".."),
        ({"sourze": {}}, "unknown field"),
        ({"soupRef": {"name": "No Name"}}, "soupRef.name"),
    ],
)
def test_a_shard_that_says_nonsense_is_refused(
    test_cluster: TestCluster, spec: Shard, message: str
) -> None:
    answer = test_cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(shard(**spec)), ok=False)

    assert message in answer


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"soupRef": {"name": "other"}}, "make a new DataShard for another soup"),
        ({"source": {"s3": {"prefix": "data/travel"}}}, "make a new DataShard for other data"),
    ],
)
def test_what_a_shard_was_trained_from_cannot_be_changed(
    test_cluster: TestCluster, change: Shard, message: str
) -> None:
    test_cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(shard()))

    answer = test_cluster.kubectl(
        "apply", "-f", "-", stdin=yaml.safe_dump(shard(**change)), ok=False
    )

    assert message in answer


def test_every_example_is_taken(test_cluster: TestCluster) -> None:
    examples = sorted(path.parent for path in (ROOT / "examples").glob("*/soup.yaml"))
    assert examples
    for path in examples:
        output = test_cluster.kubectl(
            "apply", "--dry-run=server", "--validate=strict", "-f", str(path)
        )

        assert "created (server dry run)" in output
        assert "Warning" not in output
