"""What a verifier reports of a chain that was cut off, forked or edited, or has another key."""

import base64
import json
from pathlib import Path

import pytest
from tests.unlearning.history import (
    FORGOTTEN,
    KEYS,
    SOUP,
    History,
    causes,
    check_about,
    checks_with,
    shard_ref,
)

from stockpot.errors import ExitCode, Refused
from stockpot.unlearning.envelope import key_name, seal
from stockpot.unlearning.keys import keygen, load_private_key
from stockpot.unlearning.rotate import rotate
from stockpot.unlearning.rotation import state_rotation
from stockpot.unlearning.verify.chain_head import parse_head
from stockpot.unlearning.verify.soups import find_soup
from stockpot.unlearning.verify.verdict import Verdict

LAST = len(FORGOTTEN)


def test_a_receipt_missing_in_the_middle(history: History) -> None:
    head = history.head()
    history.store.delete(KEYS.receipt(SOUP.uid, 2))

    report = history.verified(head=head)

    assert f"{KEYS.receipt(SOUP.uid, 2)}: it is missing, and others come after it" in causes(report)
    unreceipted = check_about(report, "the chain", "every tombstone")
    assert unreceipted.verdict is Verdict.NOT_CHECKABLE
    assert shard_ref("bees").uid in unreceipted.why


def test_the_last_receipt_missing_shows_against_the_head(history: History) -> None:
    head = history.head()
    history.store.delete(KEYS.receipt(SOUP.uid, LAST))

    report = history.verified(head=head)

    assert "it was cut off or rolled back: the head is number 3, and it ends with number 2" in (
        causes(report)
    )


def test_without_a_head_a_missing_last_receipt_is_not_checkable(
    in_folder: History,
) -> None:
    in_folder.store.delete(KEYS.receipt(SOUP.uid, LAST))

    report = in_folder.verified()

    assert report.exit_code == ExitCode.NOT_PROVEN
    assert (
        "neither --head nor --anchor was given" in check_about(report, "the chain", "complete").why
    )
    assert "its receipt was deleted" in check_about(report, "the chain", "every tombstone").why


def test_a_forked_chain(history: History) -> None:
    head = history.head()
    history.forge(LAST, signed_at="2026-11-23T00:00:00Z", stored_at=None)

    report = history.verified(head=head)

    assert check_about(report, "the chain", "signed").verdict is Verdict.PROVEN, (
        "who forks has the key"
    )
    assert "it was forked or edited: number 3 is sha256:" in causes(report)
    assert head.removeprefix("3:") in causes(report)


def test_a_fork_further_up_breaks_the_links_below_it(in_folder: History) -> None:
    in_folder.forge(2, versions={"stockpot": "another"})

    report = in_folder.verified()

    assert f"{KEYS.receipt(SOUP.uid, 3)}: it follows sha256:" in causes(report)


def test_a_chain_that_was_rolled_back_and_grew_again(history: History) -> None:
    head = history.receipts()[-1].digest
    history.forge(2, versions={"stockpot": "another"})
    history.store.delete(KEYS.receipt(SOUP.uid, 3))

    report = history.verified(head=head)

    assert f"no receipt is {head}: it was cut off, rolled back or forked" in causes(report)


def test_a_wrong_key(history: History, tmp_path: Path) -> None:
    other = keygen(tmp_path / "other.pem")

    report = history.verified(head=history.head(), key=other)

    assert report.exit_code == ExitCode.DISPROVEN
    failed = checks_with(report, Verdict.FAILED)
    assert len(failed) == LAST
    assert all("it was signed by another key" in check.why for check in failed)
    assert not [check for check in report.checks if check.about.startswith("receipt")]


def test_a_chain_that_was_handed_over_is_proven_from_the_first_key_and_from_the_last(
    in_folder: History, tmp_path: Path
) -> None:
    public = keygen(tmp_path / "new.pem")
    old, new = load_private_key(in_folder.key), load_private_key(tmp_path / "new.pem")
    chain = rotate(in_folder.store, KEYS, SOUP, old, new)

    for key in (in_folder.public, public):
        report = in_folder.verified(head=f"{chain.last}:{chain.head}", key=key)

        assert causes(report) == ""
        assert report.exit_code == ExitCode.OK
        names = tuple(key_name(private.public_key()) for private in (old, new))
        assert (report.receipts, report.keys) == (LAST, names)
        handed = check_about(report, "the chain", "both the old key and the new one have signed")
        assert (handed.verdict, handed.why) == (
            Verdict.PROVEN,
            f"number 4: {names[0]} → {names[1]}",
        )


def test_a_chain_that_was_forked_by_a_rotation(in_folder: History, tmp_path: Path) -> None:
    # An attacker with the old key hands over to a key of their own, instead of the true one.
    private = [load_private_key(in_folder.key)]
    for name in ("new.pem", "theirs.pem"):
        keygen(tmp_path / name)
        private.append(load_private_key(tmp_path / name))
    chain = rotate(in_folder.store, KEYS, SOUP, private[0], private[1])
    in_folder.store.delete(KEYS.receipt(SOUP.uid, chain.last))
    forked = rotate(in_folder.store, KEYS, SOUP, private[0], private[2])

    report = in_folder.verified(head=f"{chain.last}:{chain.head}")

    assert f"it was forked or edited: number 4 is {forked.head}, not {chain.head}" in causes(report)


def test_a_rotation_with_a_wrong_second_signature(in_folder: History, tmp_path: Path) -> None:
    private = [load_private_key(in_folder.key)]
    for name in ("new.pem", "other.pem"):
        keygen(tmp_path / name)
        private.append(load_private_key(tmp_path / name))
    last = in_folder.receipts()[-1].digest
    public = (private[0].public_key(), private[1].public_key())
    statement = state_rotation(SOUP, *public, LAST + 1, last).canonical
    in_folder.store.put(KEYS.receipt(SOUP.uid, LAST + 1), seal(statement, private[0], private[2]))

    report = in_folder.verified()

    assert "00000004.dsse.json: the new key that it names has not signed it" in causes(report)


def test_a_time_that_was_edited_in_a_receipt(history: History) -> None:
    key = KEYS.receipt(SOUP.uid, LAST)
    envelope = json.loads(history.store.get(key) or b"")
    payload = json.loads(base64.b64decode(envelope["payload"]))
    payload["predicate"]["requestedAt"] = "2026-11-22T11:00:00Z"
    envelope["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()
    history.store.put(key, json.dumps(envelope).encode())

    report = history.verified()

    assert causes(report) == (
        "the chain: every receipt is signed with the key, and unedited since: "
        f"{key}: its signature does not fit: it was edited"
    )


def test_a_receipt_that_was_copied_from_another_soup(in_folder: History) -> None:
    in_folder.forge(LAST, soup=SOUP.model_copy(update={"uid": "soup-2"}))

    assert "it is a receipt of another soup: soup-2" in causes(in_folder.verified())


def test_an_invalid_head_is_refused() -> None:
    for text in ("sha256:12", "0:sha256:" + "a" * 64, "x:sha256:" + "a" * 64, ""):
        with pytest.raises(Refused) as caught:
            parse_head(text)
        assert caught.value.exit_code == ExitCode.USAGE


def test_a_soup_is_found_by_name_and_by_uid(in_folder: History) -> None:
    for named in ("tiny", "soup/tiny", "soup-1", "soup/soup-1"):
        assert find_soup(in_folder.store, KEYS, named) == "soup-1"


def test_a_soup_without_receipts_is_refused_with_the_names_of_others(in_folder: History) -> None:
    with pytest.raises(Refused) as caught:
        find_soup(in_folder.store, KEYS, "soup/broth")

    assert caught.value.message.startswith("no soup broth has receipts in namespace ml")
    assert "tiny (soup-1)" in caught.value.help


def test_two_soups_of_one_name_are_not_mixed_up(in_folder: History) -> None:
    data = in_folder.store.get(KEYS.receipt(SOUP.uid, 1)) or b""
    in_folder.store.put(KEYS.receipt("soup-9", 1), data)

    with pytest.raises(Refused) as caught:
        find_soup(in_folder.store, KEYS, "tiny")

    assert "soup-1, soup-9" in caught.value.message
