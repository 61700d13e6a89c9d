"""Servers of a cluster take grants of their operator alone, also while its key is replaced."""

from dataclasses import dataclass

import pytest
import urllib3
from tests.controlplane.servers import ADMIN_PORT, PlayedServer
from tests.controlplane.testbed import TestCluster

from stockpot.api.runspec import RevisionRef
from stockpot.api.serving import Grant
from stockpot.authentication.key_file import PREVIOUS, new_grant_key, read_grant_signer
from stockpot.authentication.signatures import GrantKind
from stockpot.cluster.apiserver.resources import SOUPS


@dataclass(frozen=True)
class Answer:
    status: int
    body: dict[str, str]


def send(
    server: PlayedServer, kind: GrantKind, grant: Grant, headers: dict[str, str] | None = None
) -> Answer:
    """Send a grant as somebody does who reaches the admin port."""
    answer = urllib3.request(
        "POST",
        f"http://{server.address}:{ADMIN_PORT}/weights:{kind}",
        body=grant.model_dump_json(),
        headers={"Content-Type": "application/json", **(headers or {})},
    )
    return Answer(answer.status, answer.json())


def a_forgery(server: PlayedServer) -> Grant:
    granted = server.pod.holdings.granted
    assert granted
    return Grant(
        instance_id=server.pod.holdings.instance_id,
        epoch=10**9,
        number=7,
        revision=RevisionRef(
            recipe_digest=granted.revision.recipe_digest,
            weights_digest="sha256:" + "0" * 64,
        ),
    )


def test_who_reaches_the_admin_port_cannot_make_a_server_deaf_to_its_operator(
    test_cluster: TestCluster,
) -> None:
    test_cluster.operator()
    test_cluster.soup()
    food, travel = test_cluster.shard("food"), test_cluster.shard("travel")
    test_cluster.learnt("food", "travel")
    (server,) = test_cluster.kubelet.servers()
    forgery = a_forgery(server)
    before = server.pod.holdings

    answers = [send(server, kind, forgery) for kind in GrantKind]

    assert [answer.status for answer in answers] == [403, 403]
    assert all(answer.body["help"] for answer in answers)
    assert server.pod.holdings == before
    assert server.unauthentic == 2
    test_cluster.delete("food")
    test_cluster.forgotten("food")
    assert server in test_cluster.kubelet.servers()
    assert test_cluster.serving() == [{travel}]
    assert server.unauthentic == 2, "none of the operator's own"
    assert food not in {pair.shard for pair in server.pod.holdings.granted.revision.lineage}  # type: ignore[union-attr]


def test_a_grant_that_was_signed_for_one_pod_is_refused_by_another(
    test_cluster: TestCluster,
) -> None:
    test_cluster.operator()
    test_cluster.soup(serving={"replicas": 2})
    test_cluster.shard("food")
    test_cluster.learnt("food")
    test_cluster.until(lambda: len(test_cluster.serving()) == 2, "both serve")
    first, second = test_cluster.kubelet.servers()
    promoted = first.pod.holdings.granted
    assert promoted
    grant = Grant(
        instance_id=first.pod.holdings.instance_id,
        epoch=promoted.epoch + 1,
        number=promoted.number + 1,
        revision=promoted.revision,
    )
    signer = read_grant_signer(test_cluster.grant_key)
    headers = signer.headers(grant, GrantKind.PREPARE, first.verifier.recipient)
    elsewhere = grant.model_copy(update={"instance_id": second.pod.holdings.instance_id})

    assert send(second, GrantKind.PREPARE, grant, headers).status == 403
    assert send(second, GrantKind.PREPARE, elsewhere, headers).status == 403
    assert send(first, GrantKind.COMMIT, grant, headers).status == 403
    assert send(first, GrantKind.PREPARE, grant, headers).status == 200


def test_a_key_is_replaced_while_servers_go_on_to_take_grants(test_cluster: TestCluster) -> None:
    test_cluster.operator()
    test_cluster.soup()
    test_cluster.shard("food")
    test_cluster.learnt("food")
    (before,) = test_cluster.kubelet.servers()
    key = test_cluster.grant_key
    old = read_grant_signer(key).public_keys

    key.with_name(PREVIOUS).write_bytes(key.read_bytes())
    key.write_bytes(new_grant_key())
    new = read_grant_signer(key).public_keys
    test_cluster.shard("travel")
    test_cluster.learnt("travel")
    test_cluster.until(
        lambda: before not in test_cluster.kubelet.servers() and len(test_cluster.serving()) == 1,
        "another server took its place",
    )
    (between,) = test_cluster.kubelet.servers()
    key.with_name(PREVIOUS).unlink()
    test_cluster.delete("food")
    test_cluster.forgotten("food")

    assert len(old) == 1
    assert new[1:] == old
    assert before.unauthentic == between.unauthentic == 0
    assert len(between.verifier.keys) == 2


def test_a_key_that_is_replaced_at_once_heals_by_a_rollout(
    test_cluster: TestCluster,
) -> None:
    test_cluster.operator()
    test_cluster.soup()
    test_cluster.shard("food")
    test_cluster.learnt("food")
    (before,) = test_cluster.kubelet.servers()

    test_cluster.grant_key.write_bytes(new_grant_key())
    travel = test_cluster.shard("travel")
    test_cluster.learnt("travel")

    test_cluster.until(lambda: before not in test_cluster.kubelet.servers(), "it is replaced")
    (after,) = test_cluster.kubelet.servers()
    assert after.unauthentic == 0
    assert travel in (after.serving or ())
    assert test_cluster.is_so("soup", "Serving", SOUPS)


@pytest.mark.parametrize(
    ("first", "then"),
    [pytest.param(False, True, id="upgrade"), pytest.param(True, False, id="rollback")],
)
def test_an_operator_that_signs_and_one_that_does_not_take_over_from_each_other(
    test_cluster: TestCluster, first: bool, then: bool
) -> None:
    key = {True: str(test_cluster.grant_key), False: ""}
    operator = test_cluster.operator("first", grantKey=key[first])
    test_cluster.soup()
    food = test_cluster.shard("food")
    test_cluster.learnt("food")
    (before,) = test_cluster.kubelet.servers()
    operator.end()

    test_cluster.operator("second", grantKey=key[then])
    travel = test_cluster.shard("travel")
    test_cluster.learnt("travel")
    test_cluster.until(lambda: before not in test_cluster.kubelet.servers(), "it is replaced")
    test_cluster.delete("food")
    test_cluster.forgotten("food")

    (after,) = test_cluster.kubelet.servers()
    assert [bool(server.verifier.keys) for server in (before, after)] == [first, then]
    assert after.serving == {travel}
    assert not after.holds(food)
    if not first:
        assert before.unauthentic == 0, "without a key it takes signed grants as well"
