"""What a server reports: a true report is only attested, and a false one contradicts the store."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from tests.unlearning.history import KEYS, SOUP, History, check_about

from stockpot.errors import ExitCode
from stockpot.store.keys import MANIFEST
from stockpot.unlearning.verify.verdict import Check, Verdict

NOBODY = "sha256:" + "0" * 64


@contextmanager
def scripted_server(
    recipe: str, weights: str, header: str | None = None, chain: object = None
) -> Iterator[str]:
    """Run a server that answers like ours, with scripted content, because ours cannot lie."""

    class Liar(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(200 if chain is not None else 404)
            self.end_headers()
            self.wfile.write(json.dumps(chain).encode())

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            revision = {"recipe_digest": recipe, "weights_digest": weights}
            self.send_response_only(200)
            self.send_header("X-Stockpot-Weights-Digest", header or weights)
            self.end_headers()
            self.wfile.write(json.dumps({"revision": revision}).encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            del format, args

    with ThreadingHTTPServer(("127.0.0.1", 0), Liar) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def check_of_server(
    history: History, recipe: str, weights: str, header: str | None = None
) -> Check:
    with scripted_server(recipe, weights, header) as url:
        return check_about(
            history.verified(head=history.head(), urls=(url,)), "the server", "answers"
        )


def test_the_successor_is_attested_and_never_proven(in_folder: History) -> None:
    successor = in_folder.predicate(3).successor
    assert successor is not None

    check = check_of_server(in_folder, successor.recipe_digest, successor.weights_digest)

    assert check.verdict is Verdict.ATTESTED
    assert check.why.startswith("it says that the last receipt's successor drew the picture")


def test_a_server_that_serves_what_was_removed(in_folder: History) -> None:
    check = check_of_server(in_folder, in_folder.predicate(3).tainted[0], NOBODY)

    assert check.verdict is Verdict.FAILED
    assert check.why.endswith("removed with shard dogs")


def test_a_server_whose_revision_was_made_with_a_forgotten_shard(in_folder: History) -> None:
    key = KEYS.revision(SOUP.uid, NOBODY) + MANIFEST
    lineage = [{"shard": "uid-dogs", "trainingKey": NOBODY}]
    manifest = {"kind": "Revision", "lineage": lineage, "digest": NOBODY}
    in_folder.store.put(key, json.dumps(manifest).encode())

    check = check_of_server(in_folder, NOBODY, NOBODY)

    assert (check.verdict, check.why) == (
        Verdict.FAILED,
        f"it serves {NOBODY}, made with dogs",
    )


def test_a_server_with_other_weights_than_the_stores(in_folder: History) -> None:
    successor = in_folder.predicate(3).successor
    assert successor is not None

    check = check_of_server(in_folder, successor.recipe_digest, NOBODY)

    assert check.verdict is Verdict.FAILED
    assert f"the store's are {successor.weights_digest}" in check.why


@pytest.mark.parametrize("header", [None, "sha256:" + "1" * 64])
def test_a_server_that_names_a_revision_unknown_to_the_store(
    in_folder: History, header: str | None
) -> None:
    check = check_of_server(in_folder, NOBODY, NOBODY, header)

    assert check.verdict is Verdict.NOT_CHECKABLE


def test_an_honest_server_keeps_the_exit_code_at_zero(in_folder: History) -> None:
    successor = in_folder.predicate(3).successor
    assert successor is not None
    chain = a_head(in_folder, 3)
    with scripted_server(successor.recipe_digest, successor.weights_digest, chain=chain) as url:
        report = in_folder.verified(head=in_folder.head(), urls=(url,))

    assert report.exit_code == ExitCode.OK
    check = check_about(report, "the server", "sees the same receipts")
    assert (check.verdict, check.why) == (
        Verdict.ATTESTED,
        f"it says that they end with {in_folder.head()}",
    )


def a_head(history: History, number: int) -> dict[str, object]:
    """The head that a server reports for a chain that ends with a receipt."""
    digest = history.receipts()[number - 1].digest if number else None
    return {"soup": "tiny", "sequence": number, "digest": digest, "receipt": number}


def seen_by_a_server(history: History, chain: object) -> Check:
    with scripted_server(NOBODY, NOBODY, chain=chain) as url:
        return check_about(history.verified(urls=(url,)), "the server", "sees the same receipts")


@pytest.mark.parametrize(("number", "what"), [(2, "number 2"), (0, "no receipt at all")])
def test_a_server_whose_store_was_set_back(in_folder: History, number: int, what: str) -> None:
    check = seen_by_a_server(in_folder, a_head(in_folder, number))

    assert (check.verdict, check.why) == (
        Verdict.FAILED,
        f"it sees {what} as the last, and the chain has 3: an older store, or another",
    )


def test_a_server_that_has_seen_what_was_cut_off_here(in_folder: History) -> None:
    chain = a_head(in_folder, 3)
    in_folder.store.delete(KEYS.receipt(SOUP.uid, 3))

    check = seen_by_a_server(in_folder, chain)

    assert check.verdict is Verdict.FAILED
    assert "that is not in this store: cut off, or another store" in check.why


def test_a_server_that_sees_a_fork(in_folder: History) -> None:
    check = seen_by_a_server(in_folder, a_head(in_folder, 3) | {"digest": NOBODY})

    assert check.verdict is Verdict.FAILED
    assert check.why.startswith(f"number 3 is {NOBODY} there and ")


@pytest.mark.parametrize("chain", [None, [1], {"sequence": -1}, {"soup": "tiny", "heads": 3}])
def test_a_server_without_a_valid_chain_head(in_folder: History, chain: object) -> None:
    assert seen_by_a_server(in_folder, chain).verdict is Verdict.NOT_CHECKABLE
