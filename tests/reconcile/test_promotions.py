"""Who may say what is to be served: only whoever knew what was said last."""

from datetime import UTC, datetime

from tests.builders import a_revision

from stockpot.api.v1alpha1 import Soup
from stockpot.core.revision import Epoch, Promotion
from stockpot.reconcile.objects.soup import promoted

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def a_soup(epoch: int) -> Soup:
    return Soup.model_validate(
        {
            "metadata": {"name": "pets", "namespace": "studio", "uid": "soup-1"},
            "spec": {"base": {"s3": {"prefix": "bases/pets/"}}},
            "status": {"epoch": epoch},
        }
    )


def test_whoever_knows_the_last_promotion_makes_the_next() -> None:
    soup = promoted(Promotion(a_revision("cats"), Epoch(5), 3), Epoch(4), NOON)(a_soup(4))

    assert soup.status.epoch == 5


def test_a_stale_cache_promotes_nothing_though_servers_told_it_a_newer_epoch() -> None:
    soup = a_soup(4)

    assert promoted(Promotion(a_revision("dogs"), Epoch(5), 3), Epoch(2), NOON)(soup) == soup
