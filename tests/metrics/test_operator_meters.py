"""The operator's metrics and probes, requested over HTTP as the kubelet and Prometheus do."""

import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from stockpot.api.conditions import Condition, ConditionStatus
from stockpot.api.omissions import Omission
from stockpot.api.states import ShardState
from stockpot.api.v1alpha1 import DataShard, DataShardStatus, Soup, SoupRevision
from stockpot.errors import Transient
from stockpot.metrics.facts import SoupFacts, soup_facts
from stockpot.metrics.operator import OperatorMetrics
from stockpot.metrics.probes import serve_operator

REFERENCE = Path(__file__).parents[2] / "docs/reference/operator-metrics.md"
SOUP = ("studio", "emoji")
DIGEST = "sha256:" + "a" * 64
DELETED_AT = "2026-11-22T12:00:00Z"
NOON_S = datetime.fromisoformat(DELETED_AT).timestamp()

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(meters: OperatorMetrics) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(meters.text().decode())
        for sample in family.samples
    }


def value(meters: OperatorMetrics, name: str, **labels: str) -> float | None:
    of_soup = {"namespace": "studio", "soup": "emoji"} | labels
    return samples(meters).get((name, tuple(sorted(of_soup.items()))))


def the_meters() -> OperatorMetrics:
    return OperatorMetrics(version="1.2.3", now_s=lambda: NOON_S + 30)


def a_shard(name: str, *types: str, **more: object) -> DataShard:
    conditions = tuple(
        Condition(type=type_, status=ConditionStatus.TRUE, reason="Because") for type_ in types
    )
    spec: dict[str, object] = {"soupRef": {"name": "emoji"}, "source": {"s3": {"prefix": "x/"}}}
    if inclusion := more.pop("inclusion", None):
        spec["inclusion"] = inclusion
    shard = DataShard.model_validate(
        {"metadata": {"name": name, "namespace": "studio", **more}, "spec": spec}
    )
    status = shard.status.model_copy(update={"conditions": conditions})
    return shard.model_copy(update={"status": status})


def a_soup(status: Mapping[str, object]) -> Soup:
    return Soup.model_validate(
        {
            "metadata": {"name": "emoji", "namespace": "studio"},
            "spec": {"base": {"s3": {"prefix": "bases/emoji/"}}},
            "status": status,
        }
    )


def test_every_state_has_a_series_so_that_a_graph_falls_to_zero() -> None:
    meters = the_meters()

    meters.observe_round(SOUP, SoupFacts(shards={ShardState.INCLUDED: 4}), 0.02)

    assert value(meters, "stockpot_shards", state="Included") == 4
    for state in ShardState:
        assert value(meters, "stockpot_shards", state=state) is not None, state


def test_the_age_of_the_oldest_deletion_grows_without_a_round() -> None:
    clock_s = [NOON_S, NOON_S + 10]
    meters = OperatorMetrics(version="1", now_s=lambda: clock_s.pop(0))
    facts = SoupFacts(unlearning_since_s=(NOON_S, NOON_S - 5))
    meters.observe_round(SOUP, facts, 0.02)

    ages_s = [value(meters, "stockpot_deletion_age_seconds") for _ in (1, 2)]

    assert ages_s == [5, 15]


def test_a_deletion_becomes_overdue_without_a_round() -> None:
    clock_s = [NOON_S, NOON_S + 10]
    meters = OperatorMetrics(version="1", now_s=lambda: clock_s.pop(0))
    facts = SoupFacts(unlearning_since_s=(NOON_S, NOON_S - 5), unlearning_deadline_s=10)
    meters.observe_round(SOUP, facts, 0.02)

    counts = [value(meters, "stockpot_deletions_overdue") for _ in (1, 2)]

    assert counts == [0, 1]


def test_an_expired_and_unlearned_shard_is_not_in_progress() -> None:
    unlearning = {"unlearning": {"requestedAt": "2026-11-22T12:00:00Z", "stage": "Released"}}
    going, gone = (
        shard.model_copy(
            update={
                "status": DataShardStatus.model_validate(unlearning).model_copy(
                    update={"conditions": shard.status.conditions}
                )
            }
        )
        for shard in (a_shard("going"), a_shard("gone", "Unlearned"))
    )

    facts = soup_facts(a_soup({}), [going, gone])

    assert len(facts.unlearning_since_s) == 1


def test_records_and_force_deleted_shards_count_as_in_progress() -> None:
    unlearning = {"requestedAt": "2026-11-22T12:00:00Z", "stage": "Purged"}
    key = "sha256:" + "a" * 64
    former = {"trainingKey": key, "records": ["a.png"], "unlearning": unlearning}
    shard = a_shard("food").model_copy(
        update={"status": DataShardStatus.model_validate({"former": [former]})}
    )
    soup = a_soup({"lost": [{"name": "gone", "uid": "gone-uid", "unlearning": unlearning}]})

    assert len(soup_facts(soup, [shard]).unlearning_since_s) == 2


def test_a_slow_clock_gives_no_negative_age() -> None:
    meters = OperatorMetrics(version="1", now_s=lambda: NOON_S - 60)

    meters.observe_round(SOUP, SoupFacts(unlearning_since_s=(NOON_S,)), 0.02)

    assert value(meters, "stockpot_deletion_age_seconds") == 0


def test_the_series_of_a_soup_end_with_it() -> None:
    meters = the_meters()
    meters.observe_round(SOUP, SoupFacts(receipts=2), 0.02)
    meters.observe_round(("studio", "other"), SoupFacts(receipts=1), 0.02)
    meters.observe_progress(SOUP, {"food": 0.5})

    meters.observe_round(SOUP, None, 0.02)

    left = {dict(labels).get("soup") for _, labels in samples(meters)}
    assert left == {None, "other"}


def test_a_training_that_ended_has_no_progress() -> None:
    meters = the_meters()
    meters.observe_progress(SOUP, {"food": 0.5, "ink": 0.25})

    meters.observe_progress(SOUP, {"ink": 0.75})

    assert value(meters, "stockpot_training_progress_ratio", shard="food") is None
    assert value(meters, "stockpot_training_progress_ratio", shard="ink") == 0.75


def test_a_failed_reconciliation_is_counted_and_keeps_the_facts() -> None:
    meters = the_meters()
    meters.observe_round(SOUP, SoupFacts(receipts=2), 0.02)

    meters.observe_failure(Transient("the API server is away"), 1.5)

    counted = samples(meters)
    assert counted["stockpot_reconcile_errors_total", (("error", "Transient"),)] == 1
    assert counted["stockpot_reconcile_duration_seconds_count", ()] == 2
    assert value(meters, "stockpot_receipts") == 2


@pytest.mark.parametrize("state", ShardState)
def test_a_shard_is_counted_in_the_state_of_its_status(state: ShardState) -> None:
    shard = a_shard("food")
    status = shard.status.model_copy(update={"state": state.value})

    facts = soup_facts(a_soup({}), [shard.model_copy(update={"status": status})])

    assert facts.shards == {state: 1}


@pytest.mark.parametrize(
    ("shard", "state"),
    [
        (a_shard("new"), ShardState.PENDING),
        # The operator has not written that yet.
        (a_shard("late", "Stalled", deletionTimestamp=DELETED_AT), ShardState.UNLEARNING),
    ],
)
def test_a_shard_without_a_state_is_counted_too(shard: DataShard, state: ShardState) -> None:
    assert soup_facts(a_soup({}), [shard]).shards == {state: 1}


def test_facts_are_taken_from_the_objects() -> None:
    revision = SoupRevision.model_validate(
        {
            "metadata": {"name": "emoji-1", "namespace": "studio"},
            "spec": {
                "soupRef": {"name": "emoji", "uid": "u"},
                "recipeDigest": DIGEST,
                "weightsDigest": DIGEST,
            },
            "status": {
                "evaluation": [{"metric": "heldout_loss", "value": "0.528"}],
                "omissions": [{"reason": "ExtraFrames", "count": 4}],
            },
        }
    )
    soup = a_soup(
        {
            "currentRevision": {
                "name": "emoji-1",
                "number": 3,
                "recipeDigest": DIGEST,
                "weightsDigest": DIGEST,
                "promotedAt": DELETED_AT,
                "epoch": 3,
            },
            "quality": [{"metric": "heldout_loss", "value": "0.528", "baseline": "0.565"}],
            "receipts": {"count": 2},
            "serving": {"replicas": 3, "readyReplicas": 1},
        }
    )

    meters = the_meters()
    leaving = a_shard("ink", deletionTimestamp=DELETED_AT)
    corrupt = Omission(reason="CorruptPicture", count=2)
    food = a_shard("food")
    food = food.model_copy(
        update={"status": food.status.model_copy(update={"omissions": (corrupt,)})}
    )
    meters.observe_round(SOUP, soup_facts(soup, [leaving, food], [revision]), 0.02)

    quality = {"revision": "emoji-1", "metric": "heldout_loss"}
    assert value(meters, "stockpot_revision_quality", **quality) == 0.528
    assert value(meters, "stockpot_baseline_quality", metric="heldout_loss") == 0.565
    assert value(meters, "stockpot_current_revision_number") == 3
    assert value(meters, "stockpot_receipts") == 2
    assert value(meters, "stockpot_servers", ready="true") == 1
    assert value(meters, "stockpot_servers", ready="false") == 2
    assert value(meters, "stockpot_deletions_in_flight") == 1
    assert value(meters, "stockpot_deletion_age_seconds") == 30
    labels = {"shard": "food", "reason": "CorruptPicture"}
    assert value(meters, "stockpot_data_omissions", **labels) == 2
    assert value(meters, "stockpot_held_out_omissions", reason="ExtraFrames") == 4


def test_the_port_serves_liveness_readiness_and_metrics() -> None:
    meters, ready = the_meters(), False
    meters.set_leader(True)
    meters.watch_queue(lambda: 7)

    with serve_operator(
        meters, is_live=lambda: True, is_ready=lambda: ready, host="127.0.0.1", port=0
    ) as url:
        before = status(f"{url}/readyz")
        ready = True
        after = status(f"{url}/readyz")
        live = status(f"{url}/livez")
        elsewhere = status(f"{url}/")
        with urllib.request.urlopen(f"{url}/metrics") as answer:
            text = answer.read().decode()

    assert (before, after, live, elsewhere) == (503, 200, 200, 404)
    assert "stockpot_leader 1.0" in text
    assert "stockpot_queue_depth 7.0" in text
    assert 'stockpot_build_info{version="1.2.3"} 1.0' in text


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_the_reference_lists_every_series_with_labels_and_every_state() -> None:
    meters = the_meters()
    meters.set_leader(True)
    meters.watch_queue(lambda: 0)
    full = SoupFacts(
        revision_number=1,
        quality={"emoji-1": {"heldout_loss": 0.5}},
        baseline={"heldout_loss": 0.6},
        omissions={"food": {"CorruptPicture": 2}},
        held_out_omissions={"ExtraFrames": 1},
    )
    meters.observe_round(SOUP, full, 0.02)
    meters.observe_progress(SOUP, {"food": 0.5})
    meters.observe_failure(Transient("the API server is away"), 0.5)

    registered = set()
    for family in text_string_to_metric_families(meters.text().decode()):
        if family.name.startswith("stockpot_") and not family.name.endswith("_created"):
            labels = {name for sample in family.samples for name in sample.labels}
            name = family.name + ("_total" if family.type == "counter" else "")
            shown = sorted(labels - {"namespace", "soup", "le"}, reverse=True)
            registered.add((name, family.type, ", ".join(f"`{label}`" for label in shown)))

    rows = [line.split("|")[1:5] for line in REFERENCE.read_text().splitlines() if "|" in line]
    listed = {
        (row[0].strip(" `"), row[1].strip(), row[2].strip())
        for row in rows
        if row[0].startswith(" `stockpot_")
    }
    assert listed == registered
    states = {row[0].strip(" `") for row in rows} & {str(state) for state in ShardState}
    assert states == {str(state) for state in ShardState}
