"""A prefix belongs to one namespace, by its UID, until an admin hands it over."""

from pathlib import Path

import pytest

from stockpot.api.namespace_ref import NamespaceRef
from stockpot.errors import ExitCode, Refused
from stockpot.store.folder import FolderStore
from stockpot.store.keys import Keys
from stockpot.store.namespace_mark import claim_prefix

KEYS = Keys("studio")
FIRST, SECOND, THIRD = (NamespaceRef(uid=uid) for uid in ("uid-1", "uid-2", "uid-3"))


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path)


def test_the_first_namespace_marks_the_prefix_and_keeps_it(store: FolderStore) -> None:
    claim_prefix(store, KEYS, FIRST)
    mark = store.get(KEYS.mark)

    claim_prefix(store, KEYS, FIRST)

    assert mark is not None
    assert b'"uid-1"' in mark
    assert store.get(KEYS.mark) == mark


def test_a_prefix_without_a_mark_is_taken_over_with_what_lies_there(store: FolderStore) -> None:
    store.put(KEYS.tombstone("uid-cats"), b"from before there were marks")

    claim_prefix(store, KEYS, SECOND)

    assert b'"uid-2"' in (store.get(KEYS.mark) or b"")


def test_another_namespace_of_the_name_is_refused_with_the_command_that_lets_it_in(
    store: FolderStore,
) -> None:
    claim_prefix(store, KEYS, FIRST)
    mark = store.get(KEYS.mark)

    with pytest.raises(Refused) as refused:
        claim_prefix(store, KEYS, SECOND)

    assert refused.value.exit_code == ExitCode.OTHER_NAMESPACE
    assert "belongs to the namespace studio with UID uid-1, which was deleted" in str(refused.value)
    command = "kubectl annotate namespace studio stockpot.dev/adopt-store-of=uid-1 --overwrite"
    assert refused.value.help.endswith(command)
    assert store.get(KEYS.mark) == mark


def test_an_admin_hands_the_prefix_over_once(store: FolderStore) -> None:
    claim_prefix(store, KEYS, FIRST)
    with pytest.raises(Refused, match="uid-1"):
        claim_prefix(store, KEYS, SECOND.model_copy(update={"adopts": "uid-0"}))

    claim_prefix(store, KEYS, SECOND.model_copy(update={"adopts": "uid-1"}))
    claim_prefix(store, KEYS, SECOND)

    assert b'"uid-1"' in (store.get(KEYS.mark) or b""), "it names who had it"
    for late in (FIRST, THIRD.model_copy(update={"adopts": "uid-1"})):
        with pytest.raises(Refused, match="UID uid-2, which was deleted"):
            claim_prefix(store, KEYS, late)


def test_a_mark_that_was_edited_is_refused_and_says_what_to_do(store: FolderStore) -> None:
    store.put(KEYS.mark, b'{"uid": 7}')

    with pytest.raises(Refused, match=r"studio/namespace.json is no mark") as refused:
        claim_prefix(store, KEYS, FIRST)

    assert refused.value.exit_code == ExitCode.OTHER_NAMESPACE
    assert "remove it" in refused.value.help


def test_local_mode_marks_nothing(store: FolderStore) -> None:
    claim_prefix(store, KEYS, NamespaceRef())

    assert list(store.list("")) == []
