"""Evidence of servers in a receipt: what each answered, and how those that ended did."""

from datetime import UTC, datetime, timedelta

from tests.builders import a_shard, a_soup, a_world, uid

from stockpot.api.runspec import SurvivingRecords
from stockpot.api.server_reports import Ending
from stockpot.api.v1alpha1 import MOST_ENDED, Soup
from stockpot.core.digests import Digest
from stockpot.core.recipe import Ingredient, ShardUID
from stockpot.core.revision import Epoch, Promotion
from stockpot.core.servers import HeldRevision, Server, ServerGrant
from stockpot.core.shard import Comparison
from stockpot.core.world import World
from stockpot.reconcile.objects.server import with_server, without_server
from stockpot.reconcile.run_specs import ended_reports, held_report, surviving_records

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def granted(*names: str) -> Soup:
    soup = Soup.model_validate(
        {
            "metadata": {"name": "pets", "namespace": "studio", "uid": "soup-1"},
            "spec": {"base": {"s3": {"prefix": "bases/pets/"}}},
        }
    )
    for name in names:
        soup = with_server(ServerGrant(name, f"uid of {name}", "node-a"))(soup)
    return soup


def a_quiet_world(**endings: Ending) -> World:
    world = a_world(a_soup())
    return World(soup=world.soup, endings={f"uid of {name}": how for name, how in endings.items()})


def test_a_server_that_ended_is_noted_with_how_that_is_known() -> None:
    soup = without_server("uid of one", Ending.OUT_OF_SERVICE, NOON)(granted("one", "two"))

    (ended,) = soup.status.serving.ended
    assert [server.name for server in soup.status.serving.granted] == ["two"]
    assert (ended.name, ended.node, ended.how) == ("one", "node-a", Ending.OUT_OF_SERVICE)
    assert without_server("uid of one", Ending.KUBELET, NOON)(soup) == soup, "and only once"


def test_of_those_that_ended_the_last_are_kept() -> None:
    names = [f"{number:03d}" for number in range(MOST_ENDED + 5)]
    soup = granted(*names)
    for name in names:
        soup = without_server(f"uid of {name}", Ending.KUBELET, NOON)(soup)

    assert [server.name for server in soup.status.serving.ended] == names[5:]


def test_a_receipt_is_told_of_those_that_ended_since_it_was_asked_for() -> None:
    soup = granted("before", "since", "now", "runs")
    soup = without_server("uid of before", Ending.KUBELET, NOON)(soup)
    soup = without_server("uid of since", Ending.NODE_HEARD, NOON + timedelta(minutes=2))(soup)

    reports = ended_reports(soup, a_quiet_world(now=Ending.KUBELET), "2026-11-22T12:01:00Z")

    assert [(report.server, report.how, bool(report.seen_at)) for report in reports] == [
        ("since", Ending.NODE_HEARD, True),
        ("now", Ending.KUBELET, False),
    ]


def test_what_a_server_holds_beside_the_successor_is_told_with_its_lineage() -> None:
    cats, dogs = (Ingredient(ShardUID(uid), Digest("sha256:" + "0" * 64)) for uid in ("c", "d"))
    world = a_world(a_soup().of("cats"))
    current = world.soup.current
    assert isinstance(current, Promotion)
    served = HeldRevision(current.revision.recipe.digest, frozenset({cats}))
    other = HeldRevision(Digest("sha256:" + "1" * 64), frozenset({cats, dogs}))
    server = Server("one", "pod", "node-a", epoch=Epoch(3), holds=frozenset({served}), nonce="ff")

    alone = held_report(server, current)
    more = held_report(Server("one", "pod", "node-a", holds=frozenset({served, other})), current)

    assert (alone.uid, alone.node, alone.nonce, alone.beside) == ("pod", "node-a", "ff", ())
    assert [pair.shard for pair in more.beside] == ["c", "d"]


def test_a_receipt_is_told_which_living_shards_have_the_same_records() -> None:
    shared = Comparison(100, ((uid("cats"), 40), (uid("gone"), 9)), 49)
    dogs = a_shard("dogs").trained().with_fields(comparison=shared).tombstoned()
    later = Comparison(100, ((uid("dogs"), 3),), 3)
    world = a_world(
        a_soup().of("cats", "eels"),
        *(a_shard("cats").trained(), a_shard("eels").trained().with_fields(comparison=later)),
        dogs,
    )

    assert surviving_records(uid("dogs"), world) == (
        SurvivingRecords(shard=uid("cats"), name="cats", records=40),
        SurvivingRecords(shard=uid("eels"), name="eels", records=3),
    )
