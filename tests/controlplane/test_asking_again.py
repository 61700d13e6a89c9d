"""What failed for good is tried again when somebody asks, and only then."""

import pytest
from click.testing import CliRunner
from tests.controlplane.kubelet import Order
from tests.controlplane.testbed import TestCluster

from stockpot.cli.main import load
from stockpot.cluster.apiserver.objects import name_of
from stockpot.cluster.apiserver.resources import SOUPS, Resource

BROKEN = Order("train", shard="food", exit_code=42, problem="record 3 has no caption")


def retry(test_cluster: TestCluster, what: str) -> str:
    """Run `stockpot retry` as the admin."""
    arguments = [what, "-n", test_cluster.studio]
    arguments += ["--kubeconfig", str(test_cluster.admin.cluster.kubeconfig)]
    ended = CliRunner().invoke(load("retry"), arguments, catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    return ended.output


def events(test_cluster: TestCluster, reason: str) -> str:
    return test_cluster.kubectl("get", "events", f"--field-selector=reason={reason}")


def test_a_training_that_failed_for_good_is_tried_again_after_its_data_is_mended(
    test_cluster: TestCluster,
) -> None:
    test_cluster.kubelet.order(BROKEN)
    test_cluster.operator()
    test_cluster.soup()
    test_cluster.shard("food")
    test_cluster.until(lambda: test_cluster.is_so("food", "Stalled"), "it failed for good")
    message = test_cluster.condition("food", "Ready")["message"]
    assert message.endswith("help: mend it; then: stockpot retry shard/food")
    named = "1 shard is not served (food): the training of food failed"
    test_cluster.until(
        lambda: named in test_cluster.condition("soup", "Stalled", SOUPS)["message"],
        "the Soup names it",
    )

    # The folder is mended, and that is told.
    test_cluster.kubelet.forget_orders()
    assert "datashard/food asked to try again" in retry(test_cluster, "shard/food")

    test_cluster.learnt("food")
    status = (test_cluster.get("food") or {})["status"]
    [failed] = status["retried"]["runs"]
    assert failed.endswith("-1")
    assert [name_of(job)[-2:] for job in test_cluster.jobs("train")] in ([], ["-2"])
    test_cluster.until(
        lambda: "tried again on request" in events(test_cluster, "Retried"), "an Event"
    )


def test_a_failed_merge_is_tried_again_by_asking_for_the_soup(test_cluster: TestCluster) -> None:
    test_cluster.operator()
    test_cluster.soup()
    test_cluster.shard("food")
    test_cluster.learnt("food")
    test_cluster.kubelet.order(Order("merge", exit_code=46, problem="an ingredient is truncated"))
    test_cluster.shard("travel")
    test_cluster.until(
        lambda: test_cluster.condition("soup", "Stalled", SOUPS)["reason"] == "BadWeights",
        "the merge failed for good",
    )
    assert (
        "then: stockpot retry soup/soup"
        in test_cluster.condition("soup", "Ready", SOUPS)["message"]
    )

    test_cluster.kubelet.forget_orders()
    # As well by the annotation alone.
    test_cluster.kubectl("annotate", "soup", "soup", "stockpot.dev/retry=once")

    test_cluster.learnt("food", "travel")


@pytest.mark.parametrize("resource", [SOUPS, None], ids=["soup", "shard"])
def test_a_request_about_what_has_not_failed_is_answered_once(
    test_cluster: TestCluster, resource: Resource | None
) -> None:
    test_cluster.operator()
    test_cluster.soup()
    test_cluster.shard("food")
    test_cluster.learnt("food")
    trained = test_cluster.posted("train")

    retry(test_cluster, "soup/soup" if resource else "shard/food")

    test_cluster.until(
        lambda: "nothing is tried again" in events(test_cluster, "NothingToRetry"), "it is said"
    )
    test_cluster.learnt("food")
    assert test_cluster.posted("train") == trained
    # A second round has nothing to add.
    assert events(test_cluster, "NothingToRetry").count("NothingToRetry") == 1
