"""From kubectl apply to the receipt, on a real API server."""

from tests.controlplane.admin import BINDINGS
from tests.controlplane.conftest import Figure
from tests.controlplane.kubelet import Order
from tests.controlplane.testbed import TestCluster

from stockpot.api.v1alpha1 import FINALIZER
from stockpot.cluster.apiserver.objects import namespace_of
from stockpot.cluster.apiserver.resources import DATA_SHARDS, LEASES, SOUPS


def test_shards_that_are_applied_are_trained_included_and_served(
    test_cluster: TestCluster, figure: Figure
) -> None:
    test_cluster.operator()
    test_cluster.soup()
    uids = {test_cluster.shard("food"), test_cluster.shard("travel")}

    figure(
        "seconds from an operator's start to two shards served",
        test_cluster.learnt("food", "travel"),
    )

    assert test_cluster.serving() == [uids]
    for name in ("food", "travel"):
        assert test_cluster.is_so(name, "Trained")
        assert test_cluster.is_so(name, "Included")
    assert test_cluster.is_so("soup", "Serving", SOUPS)
    assert "food" in test_cluster.kubectl("get", "shard")


def test_a_shard_that_is_deleted_goes_when_its_receipt_is_stored(
    test_cluster: TestCluster, figure: Figure
) -> None:
    test_cluster.operator()
    test_cluster.soup()
    food, travel = test_cluster.shard("food"), test_cluster.shard("travel")
    test_cluster.learnt("food", "travel")

    test_cluster.delete("food")
    figure("seconds from a deletion to its receipt", test_cluster.forgotten("food"))

    assert test_cluster.serving() == [{travel}]
    [receipt] = test_cluster.receipts()
    assert receipt["spec"]["shard"] == {"name": "food", "uid": food}
    assert [namespace_of(job) for job in test_cluster.jobs("sign")] in ([], [test_cluster.release])


def test_a_training_says_how_far_it_is(test_cluster: TestCluster) -> None:
    test_cluster.kubelet.order(Order("train", hold=True))
    test_cluster.operator()
    test_cluster.soup()
    test_cluster.shard("food")

    test_cluster.until(
        lambda: test_cluster.progress("food") == 50, "food says that half of its training is done"
    )

    assert test_cluster.condition("food", "Ready")["reason"] == "Training"


def test_a_soup_that_is_deleted_stays_until_its_shards_are_forgotten(
    test_cluster: TestCluster,
) -> None:
    test_cluster.operator()
    test_cluster.soup()
    test_cluster.shard("food")
    test_cluster.learnt("food")

    test_cluster.delete("soup", SOUPS)
    test_cluster.until(
        lambda: test_cluster.condition("soup", "Ready", SOUPS)["reason"] == "BeingDeleted",
        "it says what it waits for",
    )
    test_cluster.delete("food")
    test_cluster.forgotten("food")

    test_cluster.until(
        lambda: test_cluster.get("soup", SOUPS) is None, "the soup goes after its last shard"
    )
    assert not test_cluster.kubelet.servers()
    assert len(test_cluster.receipts()) == 1


def test_what_is_seen_gets_the_finalizer_before_anything_is_made_of_it(
    test_cluster: TestCluster,
) -> None:
    test_cluster.kubelet.order(Order("train", hold=True))
    test_cluster.operator()
    test_cluster.soup()
    test_cluster.shard("food")

    test_cluster.until(lambda: test_cluster.jobs("train"), "the training is posted")

    for name, kind in (("food", DATA_SHARDS), ("soup", SOUPS)):
        thing = test_cluster.get(name, kind)
        assert thing
        assert thing["metadata"]["finalizers"] == [FINALIZER]


def test_an_operator_that_ends_where_nothing_is_left_keeps_nothing_from_going(
    test_cluster: TestCluster,
) -> None:
    operator = test_cluster.operator()
    test_cluster.soup()
    test_cluster.shard("food")
    test_cluster.learnt("food")
    pinned = test_cluster.admin.get(BINDINGS, test_cluster.studio, "operator")
    test_cluster.delete("food")
    test_cluster.delete("soup", SOUPS)
    test_cluster.until(lambda: test_cluster.get("soup", SOUPS) is None, "the soup is gone")

    operator.end()

    binding = test_cluster.admin.get(BINDINGS, test_cluster.studio, "operator")
    lease = test_cluster.admin.get(LEASES, test_cluster.studio, "stockpot-scope")
    assert pinned
    assert binding
    assert lease
    assert pinned["metadata"]["finalizers"] == [FINALIZER]
    assert "finalizers" not in binding["metadata"]
    assert "finalizers" not in lease["metadata"]
