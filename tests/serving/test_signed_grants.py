"""A server takes grants of its operator alone, and those of an operator that signs none as before.

Invariant 19.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from devcluster.controlplane import free_ports
from tests.serving.server_fixtures import (
    SOUP,
    Answer,
    RevisionStore,
    Server,
    a_server,
    until,
)

from stockpot.api.runspec import RUN_SPEC, RevisionRef, ServeRun
from stockpot.api.serving import POD_UID, Grant, ServerState
from stockpot.authentication.signatures import GrantKind, GrantSigner, Recipient

RECORDED = Path(__file__).with_name("recorded")
OPERATOR = GrantSigner((Ed25519PrivateKey.from_private_bytes(bytes([1] * 32)),))
STRANGER = GrantSigner((Ed25519PrivateKey.from_private_bytes(bytes([2] * 32)),))
POD = "pod-uid"


@pytest.fixture
def guarded(
    revisions: RevisionStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Server]:
    """A server that knows its operator's key."""
    monkeypatch.setenv(POD_UID, POD)
    with a_server(revisions, tmp_path / "work", grant_keys=OPERATOR.public_keys) as server:
        yield server


def send(
    server: Server, kind: GrantKind, grant: Grant, signer: GrantSigner, pod: str = POD
) -> Answer:
    answer = server.http.request(
        "POST",
        f"{server.admin_url}/weights:{kind}",
        body=grant.model_dump_json(),
        headers={
            "Content-Type": "application/json",
            **signer.headers(grant, kind, Recipient(SOUP.uid, pod)),
        },
    )
    return Answer(answer.status, dict(answer.headers), answer.data)


def serve(server: Server, revision: RevisionRef, epoch: int, signer: GrantSigner) -> None:
    grant = server.grant(revision, epoch)
    assert send(server, GrantKind.PREPARE, grant, signer).status == 202
    until(lambda: server.state().prepared is not None)
    assert send(server, GrantKind.COMMIT, grant, signer).status == 200


def without_age(state: ServerState) -> ServerState:
    return state.model_copy(update={"chain_age_s": 0.0})


def unauthentic(server: Server) -> str:
    lines = server.admin("/metrics").body.decode().splitlines()
    return next(x for x in lines if x.startswith("stockpot_serving_unauthentic_grants_total "))


def test_a_forged_grant_of_a_huge_epoch_changes_nothing(
    old: RevisionRef, new: RevisionRef, guarded: Server
) -> None:
    serve(guarded, old, 1, OPERATOR)
    before = without_age(guarded.state())
    forged = guarded.grant(new, 10**9)

    answers = [
        send(guarded, kind, forged, signer, pod)
        for kind in GrantKind
        for signer, pod in ((GrantSigner(), POD), (STRANGER, POD), (OPERATOR, "another-pod"))
    ]

    assert {answer.status for answer in answers} == {403}
    assert "is not signed." in answers[0].json()["message"]
    assert "by a key that it accepts" in answers[1].json()["message"]
    assert all(answer.json()["help"] for answer in answers)
    assert without_age(guarded.state()) == before
    assert unauthentic(guarded).endswith(" 6.0")
    # Had one of them been accepted, the operator's next one would be late for ever.
    serve(guarded, new, 2, OPERATOR)
    assert guarded.draw(num_inference_steps=1).status == 200
    assert unauthentic(guarded).endswith(" 6.0")


def test_a_grant_for_an_earlier_process_of_the_pod_is_refused_by_the_next(
    old: RevisionRef, guarded: Server
) -> None:
    earlier = guarded.grant(old, 1, instance_id="0" * 32)
    rewritten = guarded.grant(old, 1)
    headers = OPERATOR.headers(earlier, GrantKind.PREPARE, Recipient(SOUP.uid, POD))

    answer = send(guarded, GrantKind.PREPARE, earlier, OPERATOR)
    forged = guarded.http.request(
        "POST",
        f"{guarded.admin_url}/weights:prepare",
        body=rewritten.model_dump_json(),
        headers={"Content-Type": "application/json", **headers},
    )

    assert (answer.status, forged.status) == (409, 403)
    assert guarded.state().granted is None


@pytest.mark.parametrize(
    "signer", [pytest.param(GrantSigner(), id="old operator"), pytest.param(OPERATOR, id="new")]
)
def test_a_server_that_was_given_no_key_takes_grants_of_both_releases(
    old: RevisionRef, server: Server, signer: GrantSigner
) -> None:
    serve(server, old, 1, signer)

    assert server.state().ready


def test_the_run_spec_of_the_last_release_starts_a_server_without_a_key() -> None:
    spec = RUN_SPEC.validate_json((RECORDED / "serve_run.json").read_text())

    assert isinstance(spec, ServeRun)
    assert (spec.grant_keys, spec.metrics_port) == ((), None)


def test_metrics_have_a_port_where_no_grant_is_taken(
    revisions: RevisionStore, old: RevisionRef, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    with a_server(revisions, tmp_path / "work", metrics_port=port) as server:
        url = f"http://127.0.0.1:{port}"
        server.serve(old, epoch=1)

        metrics = server.ask("GET", f"{url}/metrics")
        grant = server.ask("POST", f"{url}/weights:prepare", server.grant(old, 9).model_dump())
        others = [server.ask("GET", url + path).status for path in ("/state", "/readyz", "/")]

    assert b"stockpot_serving_epoch 1.0" in metrics.body
    assert grant.status == 501
    assert others == [404, 404, 404]
    assert server.results[0].images == 0
