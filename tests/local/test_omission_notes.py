"""Omissions of a shard's data are reported once, and again when they change."""

from pathlib import Path

import pytest

from stockpot.api.omissions import Omission
from stockpot.api.source import PvcSource, Source
from stockpot.api.v1alpha1 import DataShard, DataShardSpec, DataShardStatus, NamedRef, ObjectMeta
from stockpot.local.layout import Layout
from stockpot.local.omission_notes import new_omissions


def a_shard(count: int, uid: str = "u1") -> DataShard:
    omissions = (Omission(reason="Link", count=count, examples=("a.png",)),) if count else ()
    return DataShard(
        metadata=ObjectMeta(name="cats", uid=uid),
        spec=DataShardSpec(
            soup_ref=NamedRef(name="pets"), source=Source(pvc=PvcSource(claim_name="c"))
        ),
        status=DataShardStatus(omissions=omissions),
    )


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


def test_omissions_are_reported_once(layout: Layout) -> None:
    assert new_omissions(layout, [a_shard(2)]) == (a_shard(2),)
    assert new_omissions(layout, [a_shard(2)]) == ()


def test_changed_omissions_are_reported_again(layout: Layout) -> None:
    new_omissions(layout, [a_shard(2)])

    assert new_omissions(layout, [a_shard(3)]) == (a_shard(3),)


def test_a_new_shard_of_the_same_name_is_reported(layout: Layout) -> None:
    new_omissions(layout, [a_shard(2)])

    assert new_omissions(layout, [a_shard(2, uid="u2")]) == (a_shard(2, uid="u2"),)


def test_a_shard_without_omissions_writes_nothing(layout: Layout) -> None:
    assert new_omissions(layout, [a_shard(0)]) == ()
    assert not layout.reported_omissions.exists()


def test_a_damaged_file_reports_again(layout: Layout) -> None:
    new_omissions(layout, [a_shard(2)])
    layout.reported_omissions.write_text("{")

    assert new_omissions(layout, [a_shard(2)]) == (a_shard(2),)
