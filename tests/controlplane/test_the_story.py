"""From kubectl apply to the receipt, on a real API server."""

from tests.controlplane.admin import BINDINGS
from tests.controlplane.conftest import Figure
from tests.controlplane.kubelet import Order
from tests.controlplane.town import Town

from stockpot.api.v1alpha1 import FINALIZER
from stockpot.cluster.apiserver.objects import namespace_of
from stockpot.cluster.apiserver.resources import DATA_SHARDS, LEASES, SOUPS


def test_shards_that_are_applied_are_trained_included_and_served(
    town: Town, figure: Figure
) -> None:
    town.operator()
    town.soup()
    uids = {town.shard("food"), town.shard("travel")}

    figure("seconds from an operator's start to two shards served", town.learnt("food", "travel"))

    assert town.serving() == [uids]
    for name in ("food", "travel"):
        assert town.is_so(name, "Trained")
        assert town.is_so(name, "Included")
    assert town.is_so("soup", "Serving", SOUPS)
    assert "food" in town.kubectl("get", "shard")


def test_a_shard_that_is_deleted_goes_when_its_receipt_is_stored(
    town: Town, figure: Figure
) -> None:
    town.operator()
    town.soup()
    food, travel = town.shard("food"), town.shard("travel")
    town.learnt("food", "travel")

    town.delete("food")
    figure("seconds from a deletion to its receipt", town.forgotten("food"))

    assert town.serving() == [{travel}]
    [receipt] = town.receipts()
    assert receipt["spec"]["shard"] == {"name": "food", "uid": food}
    assert [namespace_of(job) for job in town.jobs("sign")] in ([], [town.release])


def test_a_training_says_how_far_it_is(town: Town) -> None:
    town.kubelet.order(Order("train", hold=True))
    town.operator()
    town.soup()
    town.shard("food")

    town.until(lambda: town.progress("food") == 50, "food says that half of its training is done")

    assert town.condition("food", "Ready")["reason"] == "Training"


def test_a_soup_that_is_deleted_stays_until_its_shards_are_forgotten(town: Town) -> None:
    town.operator()
    town.soup()
    town.shard("food")
    town.learnt("food")

    town.delete("soup", SOUPS)
    town.until(lambda: not town.kubelet.servers(), "no server answers any more")
    condition = town.condition("food", "Ready")
    town.delete("food")
    town.forgotten("food")

    town.until(lambda: town.get("soup", SOUPS) is None, "the soup goes after its last shard")
    assert condition["reason"] in {"BeingDeleted", "Settled"}
    assert len(town.receipts()) == 1


def test_what_is_seen_gets_the_finalizer_before_anything_is_made_of_it(town: Town) -> None:
    town.kubelet.order(Order("train", hold=True))
    town.operator()
    town.soup()
    town.shard("food")

    town.until(lambda: town.jobs("train"), "the training is posted")

    for name, kind in (("food", DATA_SHARDS), ("soup", SOUPS)):
        thing = town.get(name, kind)
        assert thing
        assert thing["metadata"]["finalizers"] == [FINALIZER]


def test_an_operator_that_ends_where_nothing_is_left_keeps_nothing_from_going(town: Town) -> None:
    operator = town.operator()
    town.soup()
    town.shard("food")
    town.learnt("food")
    pinned = town.admin.get(BINDINGS, town.studio, "operator")
    town.delete("food")
    town.delete("soup", SOUPS)
    town.until(lambda: town.get("soup", SOUPS) is None, "the soup is gone")

    operator.end()

    binding = town.admin.get(BINDINGS, town.studio, "operator")
    lease = town.admin.get(LEASES, town.studio, "stockpot-scope")
    assert pinned
    assert binding
    assert lease
    assert pinned["metadata"]["finalizers"] == [FINALIZER]
    assert "finalizers" not in binding["metadata"]
    assert "finalizers" not in lease["metadata"]
