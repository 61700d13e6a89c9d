"""The example: its manifests are right, and name data that is there. The story: make demo-local."""

import json
from pathlib import Path
from typing import Any

import yaml

from stockpot.api.reading import read_paths
from stockpot.api.v1alpha1 import DataShard, Soup
from stockpot.cluster.chart.values import Values

EXAMPLE = Path(__file__).parents[2] / "examples/emoji"


def test_every_manifest_of_the_example_is_right_and_its_data_is_there() -> None:
    objects = read_paths([EXAMPLE, EXAMPLE / "more"]).checked()

    soups = [item for item in objects if isinstance(item, Soup)]
    shards = [item for item in objects if isinstance(item, DataShard)]
    assert [soup.metadata.name for soup in soups] == ["emoji"]
    assert {shard.metadata.name for shard in shards} == {
        *("animals", "food", "travel", "objects", "smileys", "ink", "outline")
    }
    for shard in shards:
        assert shard.spec.source.pvc is not None
        assert (EXAMPLE / shard.spec.source.pvc.path / "metadata.jsonl").is_file()
    held_out = soups[0].spec.evaluation.source
    assert held_out is not None
    assert held_out.pvc is not None
    assert (EXAMPLE / held_out.pvc.path / "metadata.jsonl").is_file()


def test_the_chart_takes_the_values_of_the_example() -> None:
    ours = [path.read_text() for path in sorted((EXAMPLE / "cluster").glob("*.yaml"))]

    assert ours
    defaults = yaml.safe_load((EXAMPLE.parents[1] / "charts/stockpot/values.yaml").read_text())
    for text in ours:
        values = merged(defaults, yaml.safe_load(text))
        assert Values.model_validate_json(json.dumps(values)).stores


def merged(values: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Lay values over the chart's own, as helm does."""
    both = {
        key: merged(values[key], value)
        if isinstance(value, dict) and isinstance(values.get(key), dict)
        else value
        for key, value in more.items()
    }
    return {**values, **both}
