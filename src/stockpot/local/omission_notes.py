"""Remembers which omissions of data were reported, so that a command reports only new ones."""

import json
from collections.abc import Sequence

from stockpot.api.omissions import describe
from stockpot.api.v1alpha1 import DataShard
from stockpot.local.layout import Layout
from stockpot.store.atomic import write_whole


def new_omissions(layout: Layout, shards: Sequence[DataShard]) -> tuple[DataShard, ...]:
    """Return the shards whose omissions are new or changed since the last call, and remember them.

    Shards that are gone are forgotten: data that is applied again is reported again.
    """
    current = {
        shard.metadata.uid: text for shard in shards if (text := describe(shard.status.omissions))
    }
    reported = _read(layout)
    if current != reported:
        write_whole(layout.reported_omissions, json.dumps(current, indent=2).encode())
    news = {uid for uid, text in current.items() if reported.get(uid) != text}
    return tuple(shard for shard in shards if shard.metadata.uid in news)


def _read(layout: Layout) -> dict[str, str]:
    try:
        reported = json.loads(layout.reported_omissions.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}  # At worst a note is printed again.
    return reported if isinstance(reported, dict) else {}
