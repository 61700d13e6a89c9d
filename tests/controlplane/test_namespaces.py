"""A namespace that is deleted goes, whatever its soups are doing, and forgets all the same."""

from tests.controlplane.conftest import Figure
from tests.controlplane.town import Town

from stockpot.cluster.objects import name_of
from stockpot.cluster.resources import NAMESPACES, SOUPS


def is_gone(town: Town) -> bool:
    return town.mirror.get(NAMESPACES, "", town.studio) is None


def test_a_namespace_that_is_deleted_goes_and_its_receipts_are_in_the_store(
    town: Town, figure: Figure
) -> None:
    town.operator()
    town.soup()
    food = town.shard("food")
    town.learnt("food")
    uid = town.get("soup", SOUPS)["metadata"]["uid"]  # type: ignore[index]

    town.admin.delete(NAMESPACES, None, town.studio)
    took_s = town.until(lambda: is_gone(town), "the namespace is gone", 60)

    figure("seconds until a namespace with a served shard is gone", took_s)
    assert town.kubelet.kitchen(uid).store.receipts == [food]
    assert [name_of(job) for job in town.jobs("sign")] == []
