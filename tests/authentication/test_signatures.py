"""Which grants a server takes for its operator's.

Invariant 19.
"""

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stockpot.api.manifest import LineagePair
from stockpot.api.runspec import RevisionRef
from stockpot.api.serving import Grant
from stockpot.authentication.signatures import (
    HEADER,
    GrantKind,
    GrantNotAuthentic,
    GrantSigner,
    GrantVerifier,
    Recipient,
    refusal_of,
)

RECORDED = Path(__file__).with_name("recorded")
OLD, NEW = (Ed25519PrivateKey.from_private_bytes(bytes([n] * 32)) for n in (1, 2))
RECIPIENT = Recipient(soup="soup-uid", pod="pod-uid")
GRANT = Grant(
    instance_id="0123",
    epoch=3,
    number=2,
    revision=RevisionRef(
        recipe_digest="sha256:" + "a" * 64,
        weights_digest="sha256:" + "b" * 64,
        lineage=(LineagePair(shard="cats"),),
    ),
)
BEYOND_JSON = 2**53


def signature(
    *keys: Ed25519PrivateKey,
    grant: Grant = GRANT,
    kind: GrantKind = GrantKind.COMMIT,
    recipient: Recipient = RECIPIENT,
) -> str:
    return GrantSigner(keys).headers(grant, kind, recipient)[HEADER]


def is_taken(header: str | None, *keys: Ed25519PrivateKey, grant: Grant = GRANT) -> bool:
    verifier = GrantVerifier.of(GrantSigner(keys).public_keys, RECIPIENT)
    try:
        verifier.require_authentic(grant, GrantKind.COMMIT, header)
    except GrantNotAuthentic:
        return False
    return True


@pytest.mark.parametrize(
    ("signs", "accepts"),
    [([OLD], [OLD]), ([NEW, OLD], [OLD]), ([NEW, OLD], [NEW, OLD]), ([NEW], [NEW, OLD])],
)
def test_one_key_in_common_is_enough(
    signs: list[Ed25519PrivateKey], accepts: list[Ed25519PrivateKey]
) -> None:
    assert is_taken(signature(*signs), *accepts)


def changed(**fields: object) -> Grant:
    return GRANT.model_copy(update=fields)


OTHER_REVISION = GRANT.revision.model_copy(update={"weights_digest": "sha256:" + "c" * 64})
OTHER_LINEAGE = GRANT.revision.model_copy(update={"lineage": ()})


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(None, id="no signature"),
        pytest.param("", id="an empty header"),
        pytest.param("not base64!", id="no base64"),
        pytest.param(base64.b64encode(bytes(64)).decode(), id="zeros"),
        pytest.param(signature(NEW), id="another key"),
        pytest.param(signature(OLD)[:-4], id="cut short"),
        pytest.param(",".join([signature(NEW)] * 4 + [signature(OLD)]), id="too many"),
        pytest.param(signature(OLD, kind=GrantKind.PREPARE), id="to prepare"),
        pytest.param(signature(OLD, recipient=Recipient("soup-uid", "other")), id="another pod"),
        pytest.param(signature(OLD, recipient=Recipient("other", "pod-uid")), id="another soup"),
        pytest.param(signature(OLD, grant=changed(instance_id="4567")), id="another instance"),
        pytest.param(signature(OLD, grant=changed(epoch=2)), id="another epoch"),
        pytest.param(signature(OLD, grant=changed(number=1)), id="another number"),
        pytest.param(signature(OLD, grant=changed(revision=OTHER_REVISION)), id="other weights"),
        pytest.param(signature(OLD, grant=changed(revision=OTHER_LINEAGE)), id="other lineage"),
    ],
)
def test_a_grant_that_is_not_signed_as_it_stands_is_refused(header: str | None) -> None:
    assert not is_taken(header, OLD)


@pytest.mark.parametrize("epoch", [10**9, BEYOND_JSON, 10**30])
def test_no_epoch_is_too_large_to_be_refused(epoch: int) -> None:
    assert not is_taken(signature(OLD), OLD, grant=changed(epoch=epoch))


def test_without_keys_every_grant_is_taken_as_before() -> None:
    assert is_taken(None)
    assert is_taken("whatever")
    assert GrantSigner().headers(GRANT, GrantKind.COMMIT, RECIPIENT) == {}


def test_the_signature_of_a_grant_stays_what_it_is() -> None:
    # Operator and servers of two releases meet at each upgrade: these bytes must not change.
    recorded = (RECORDED / "commit.signature").read_text().strip()

    assert signature(OLD) == recorded
    assert is_taken(recorded, OLD)


@pytest.mark.parametrize(
    ("status", "body", "refusal"),
    [
        (200, b"{}", ""),
        (409, b'{"message": "It is late.", "help": "wait"}', ""),
        (403, b'{"message": "It is not signed.", "help": "sign it"}', "It is not signed. sign it"),
        (403, b"<html>", "it refuses our grants (403)"),
    ],
)
def test_a_refusal_is_read_from_the_response(status: int, body: bytes, refusal: str) -> None:
    assert refusal_of(status, body) == refusal
