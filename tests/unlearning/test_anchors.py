"""Heads that are anchored outside of the store, and the manipulations that they reveal."""

import json
from pathlib import Path
from threading import Thread

import pytest
from tests.unlearning.history import FORGOTTEN, KEYS, SOUP, History, causes, check_about

from stockpot.api.chain import ChainHead
from stockpot.errors import ExitCode, Refused
from stockpot.store.artefacts import read_manifest
from stockpot.store.keys import MANIFEST
from stockpot.unlearning.anchors import AnchoredHead, FileAnchor, contradiction
from stockpot.unlearning.verify.verdict import Report, Verdict

LAST = len(FORGOTTEN)
NOBODY = "sha256:" + "0" * 64


def a_head(number: int, digest: str = NOBODY, soup: str = SOUP.uid) -> AnchoredHead:
    return AnchoredHead(
        namespace="ml",
        soup=soup,
        name="tiny",
        sequence=number,
        digest=digest,
        at=f"2026-11-2{number}T12:00:00Z",
    )


@pytest.fixture
def file(tmp_path: Path) -> FileAnchor:
    return FileAnchor(tmp_path / "elsewhere" / "heads.jsonl")


def test_heads_are_added_and_read_by_soup(file: FileAnchor) -> None:
    for head in (a_head(1), a_head(1, soup="soup-2"), a_head(2)):
        file.append(head)

    assert file.read("ml", SOUP.uid).heads == (a_head(1), a_head(2))
    assert file.read("studio", SOUP.uid).heads == ()
    assert file.soups("ml") == {SOUP.uid: "tiny", "soup-2": "tiny"}


def test_concurrent_appends_corrupt_no_line(file: FileAnchor) -> None:
    def add(number: int) -> None:
        for _ in range(20):
            file.append(a_head(number))

    threads = [Thread(target=add, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    kept = file.read("ml", SOUP.uid)
    assert (len(kept.heads), kept.unreadable) == (80, 0)


def test_a_truncated_line_corrupts_no_other(file: FileAnchor, tmp_path: Path) -> None:
    file.append(a_head(1))
    path = tmp_path / "elsewhere" / "heads.jsonl"
    path.write_bytes(path.read_bytes() + b'{"at":"2026-')

    file.append(a_head(2))

    kept = file.read("ml", SOUP.uid)
    assert (kept.heads, kept.unreadable) == ((a_head(1), a_head(2)), 1)


def test_a_missing_anchor_is_refused_not_taken_for_an_empty_one(file: FileAnchor) -> None:
    with pytest.raises(Refused, match="there is no anchor at") as caught:
        file.read("ml", SOUP.uid)

    assert "stockpot anchor SOUP" in caught.value.help


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ([(1, NOBODY), (2, NOBODY)], ""),
        ([(1, NOBODY), (2, NOBODY), (3, "sha256:more")], ""),
        ([], "cut off or rolled back: number 1 was"),
        ([(1, NOBODY)], "cut off or rolled back: number 2 was"),
        ([(1, NOBODY), (2, "sha256:other")], "forked or edited: number 2 was"),
        ([(1, "sha256:other"), (2, NOBODY)], "forked or edited: number 1 was"),
    ],
)
def test_a_chain_that_differs_from_the_anchored_heads_is_reported(
    file: FileAnchor, entries: list[tuple[int, str]], why: str
) -> None:
    file.append(a_head(1))
    file.append(a_head(2))

    why_not = contradiction(file.read("ml", SOUP.uid), entries)

    assert why_not.startswith(f"it was {why}") if why else why_not == ""


def test_a_contradiction_names_the_last_entry_that_still_matches(file: FileAnchor) -> None:
    file.append(a_head(1))
    file.append(a_head(2))

    why_not = contradiction(file.read("ml", SOUP.uid), [(1, NOBODY)])

    assert why_not.endswith("; up to number 1 it is as it was on 2026-11-21T12:00:00Z")


def anchored(history: History, file: FileAnchor, *numbers: int) -> FileAnchor:
    receipts = history.receipts()
    for number in numbers:
        file.append(a_head(number, receipts[number - 1].digest))
    return file


def complete(report: Report) -> tuple[Verdict, str]:
    check = check_about(report, "the chain", "it is complete")
    return check.verdict, check.why


def test_an_anchored_head_proves_completeness_like_a_given_head(
    in_folder: History, file: FileAnchor
) -> None:
    report = in_folder.verified(anchor=anchored(in_folder, file, 1, 2))

    assert complete(report) == (
        Verdict.PROVEN,
        "number 2, anchored 2026-11-22T12:00:00Z; 1 came after it",
    )
    assert report.exit_code == ExitCode.OK


def test_a_chain_that_was_rolled_back_shows_against_the_anchor(
    in_folder: History, file: FileAnchor
) -> None:
    anchored(in_folder, file, 2, LAST)
    in_folder.store.delete(KEYS.receipt(SOUP.uid, LAST))

    report = in_folder.verified(anchor=file)

    assert "it was cut off or rolled back: number 3 was" in causes(report)
    assert report.exit_code == ExitCode.DISPROVEN


def test_a_chain_that_was_forked_shows_against_the_anchor(
    in_folder: History, file: FileAnchor
) -> None:
    anchored(in_folder, file, LAST)
    in_folder.forge(LAST, signed_at="2026-11-23T00:00:00Z", stored_at=None)

    assert "it was forked or edited: number 3 was" in causes(in_folder.verified(anchor=file))


def test_all_receipts_gone_show_against_the_anchor(in_folder: History, file: FileAnchor) -> None:
    anchored(in_folder, file, LAST)
    for number in range(1, LAST + 1):
        in_folder.store.delete(KEYS.receipt(SOUP.uid, number))

    assert "and now the chain has no entry" in causes(in_folder.verified(anchor=file))


def test_without_an_anchored_head_completeness_is_not_checkable(
    in_folder: History, file: FileAnchor
) -> None:
    file.append(a_head(1, soup="soup-2"))

    verdict, why = complete(in_folder.verified(anchor=file))

    assert (verdict, why) == (Verdict.NOT_CHECKABLE, "no head of it was anchored there yet")


def test_an_anchor_with_unreadable_lines_proves_nothing(
    in_folder: History, file: FileAnchor, tmp_path: Path
) -> None:
    anchored(in_folder, file, LAST)
    path = tmp_path / "elsewhere" / "heads.jsonl"
    path.write_bytes(b"edited\n" + path.read_bytes())

    assert complete(in_folder.verified(anchor=file))[0] is Verdict.NOT_CHECKABLE


def noted(history: History, head: ChainHead) -> str:
    """Write a chain head into the manifest of the revision that serves."""
    successor = history.predicate(LAST).successor
    assert successor is not None
    folder = KEYS.revision(SOUP.uid, successor.recipe_digest)
    manifest = read_manifest(history.store, folder)
    assert manifest is not None
    document = manifest.model_copy(update={"chain": head}).model_dump(mode="json", by_alias=True)
    history.store.put(folder + MANIFEST, json.dumps(document).encode())
    return folder + MANIFEST


def test_a_merged_revision_names_the_chain_head_at_its_merge(in_folder: History) -> None:
    # The second successor was merged after the first receipt, the third after the second.
    named = {}
    for number in range(1, LAST + 1):
        successor = in_folder.predicate(number).successor
        assert successor is not None
        manifest = read_manifest(in_folder.store, KEYS.revision(SOUP.uid, successor.recipe_digest))
        if manifest is not None:
            named[number] = str(manifest.chain)

    assert named[LAST] == in_folder.head(LAST - 1)


def test_a_revision_that_was_made_after_a_receipt_vouches_for_it(in_folder: History) -> None:
    noted(in_folder, ChainHead(sequence=2, digest=in_folder.receipts()[1].digest, receipt=2))

    check = check_about(in_folder.verified(), "the chain", "a revision in the store was made after")

    assert check.verdict is Verdict.PROVEN


def test_a_revision_that_was_made_after_an_entry_that_is_gone(in_folder: History) -> None:
    key = noted(in_folder, ChainHead(sequence=4, digest=NOBODY, receipt=4))

    why = f"it was cut off, rolled back or forked: {key} was made after 4:{NOBODY}"
    assert why in causes(in_folder.verified())
