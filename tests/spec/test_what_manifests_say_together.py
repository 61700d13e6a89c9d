"""What several manifests say together: what cannot work, and what is worth a look."""

from datetime import UTC, datetime

import pytest
from tests.manifest_corpus import SHARD, SOUP

from stockpot.api.options import Installed
from stockpot.api.reading import read_text
from stockpot.core.manifest_notes import crosscheck, notes

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def shard(name: str, prefix: str = "", **spec: str) -> str:
    lines = "".join(f"  {field}: {value}\n" for field, value in spec.items())
    text = SHARD.replace("{name: food}", f"{{name: {name}}}")
    return text.replace("data/food/", prefix or f"data/{name}/") + lines


def notes_of(*texts: str) -> list[str]:
    read = read_text("---\n".join(texts), "f.yaml", Installed())
    assert read.complaints == ()
    return [str(note) for note in notes(read.manifests, NOW)]


def refused(*texts: str) -> list[str]:
    return [
        str(complaint)
        for complaint in crosscheck(read_text("---\n".join(texts), "f.yaml").manifests)
    ]


def test_a_soup_and_its_shards_need_no_note() -> None:
    assert notes_of(SOUP, shard("cats"), shard("dogs")) == []
    assert refused(SOUP, shard("cats"), shard("dogs")) == []


@pytest.mark.parametrize(
    ("texts", "note"),
    [
        (
            (shard("cats"), shard("dogs")),
            (
                "f.yaml:5: DataShard cats and 1 more name the Soup emoji, which is not in these "
                "files; the shard waits until there is a Soup of that name"
            ),
        ),
        (
            (SOUP.replace("name: emoji", "name: emojis"), shard("cats")),
            (
                "f.yaml:11: DataShard cats names the Soup emoji, which is not in these files; "
                "did you mean emojis?"
            ),
        ),
        (
            (SOUP, shard("cats"), shard("dogs", "data/cats")),
            (
                "f.yaml:19: the data of DataShard dogs is the same as that of DataShard cats; "
                "data that is in two shards stays in the soup when one of them is deleted"
            ),
        ),
        (
            (SOUP, shard("cats", "data"), shard("dogs")),
            (
                "f.yaml:19: the data of DataShard dogs is within that of DataShard cats; "
                "data that is in two shards stays in the soup when one of them is deleted"
            ),
        ),
        (
            (SOUP + "  evaluation: {source: {s3: {prefix: data/cats/held}}}\n", shard("cats")),
            (
                "f.yaml:13: the data of DataShard cats contains spec.evaluation.source of Soup "
                "emoji; keep held-out records out of every shard: figures would measure "
                "memorization"
            ),
        ),
        (
            (SOUP, shard("cats", weight='"0"'), shard("dogs", weight='"0.0"')),
            (
                "f.yaml:13: every DataShard of Soup emoji in these files weighs 0; "
                "the base is served, as if there were no shards"
            ),
        ),
        (
            (SOUP + "  membership: {minShards: 2}\n", shard("cats")),
            (
                "f.yaml:6: spec.membership.minShards of Soup emoji is 2, and these files have 1 "
                "of its shards; the base is served until there are that many shards"
            ),
        ),
        (
            (SOUP, shard("cats", excludeRecords="[a.png, b.png, a.png]")),
            (
                "f.yaml:13: spec.excludeRecords of DataShard cats names a.png twice; "
                "remove one of the two"
            ),
        ),
        (
            (SOUP, shard("cats", expireAt='"2025-01-01T00:00:00Z"')),
            (
                "f.yaml:13: spec.expireAt of DataShard cats is 2025-01-01T00:00:00Z, which is in "
                "the past; the shard is unlearned as soon as it is applied"
            ),
        ),
        (
            (SOUP + "  training: {maxTrainSteps: 50, checkpointingSteps: 100}\n",),
            (
                "f.yaml:6: spec.training.checkpointingSteps is 100, and there are 50 steps; "
                "an interrupted training starts again from its first step"
            ),
        ),
    ],
)
def test_what_is_seldom_intended_is_noted_with_its_line(texts: tuple[str, ...], note: str) -> None:
    assert notes_of(*texts) == [note]


def test_shards_of_two_soups_may_have_the_same_data() -> None:
    other = SOUP.replace("name: emoji", "name: other")
    shared = shard("dogs", "data/cats").replace("soupRef: {name: emoji}", "soupRef: {name: other}")

    assert notes_of(SOUP, other, shard("cats"), shared) == []


def test_claims_of_one_path_are_not_the_same_data() -> None:
    claim = "{pvc: {claimName: %s, path: data/cats}}"
    cats, dogs = (
        shard(name).replace(f"{{s3: {{prefix: data/{name}/}}}}", claim % name)
        for name in ("cats", "dogs")
    )

    assert notes_of(SOUP, cats, dogs) == []


def test_weights_that_no_recipe_can_be_written_with_are_refused() -> None:
    weights = (shard("cats", weight='"999999999.999999999"'), shard("dogs", weight='"0.5"'))

    assert refused(SOUP, *weights) == [
        (
            "f.yaml:13: spec.weight of DataShard cats is 999999999.999999999: beside the other "
            "weights of Soup emoji it has too many digits; use fewer digits: as whole numbers, "
            "weights may be at most 9007199254740991"
        )
    ]
    assert refused(SOUP, weights[0]) == []
