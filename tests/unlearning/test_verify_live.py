"""What a server says of itself: an honest one is only believed, and a lie is found in the store."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from tests.unlearning.history import KEYS, SOUP, History, one

from stockpot.errors import ExitCode
from stockpot.store.keys import MANIFEST
from stockpot.unlearning.verify.verdict import Check, Verdict

NOBODY = "sha256:" + "0" * 64


@contextmanager
def saying(recipe: str, weights: str, header: str | None = None) -> Iterator[str]:
    """A server that answers as ours do, and says what it is told to: ours cannot be made to lie."""

    class Liar(BaseHTTPRequestHandler):
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


def asked(history: History, recipe: str, weights: str, header: str | None = None) -> Check:
    with saying(recipe, weights, header) as url:
        return one(history.verified(head=history.head(), urls=(url,)), "the server", "answers")


def test_the_successor_is_attested_and_never_proven(in_folder: History) -> None:
    successor = in_folder.said(3).successor
    assert successor is not None

    found = asked(in_folder, successor.recipe_digest, successor.weights_digest)

    assert found.verdict is Verdict.ATTESTED
    assert found.why.startswith("it says that the last receipt's successor drew the picture")


def test_a_server_that_serves_what_was_removed(in_folder: History) -> None:
    found = asked(in_folder, in_folder.said(3).tainted[0], NOBODY)

    assert found.verdict is Verdict.FAILED
    assert found.why.endswith("removed with shard dogs")


def test_a_server_whose_revision_was_made_with_a_forgotten_shard(in_folder: History) -> None:
    key = KEYS.revision(SOUP.uid, NOBODY) + MANIFEST
    lineage = [{"shard": "uid-dogs", "trainingKey": NOBODY}]
    manifest = {"kind": "Revision", "lineage": lineage, "digest": NOBODY}
    in_folder.store.put(key, json.dumps(manifest).encode())

    found = asked(in_folder, NOBODY, NOBODY)

    assert (found.verdict, found.why) == (
        Verdict.FAILED,
        f"it serves {NOBODY}, made with dogs",
    )


def test_a_server_with_other_weights_than_the_stores(in_folder: History) -> None:
    successor = in_folder.said(3).successor
    assert successor is not None

    found = asked(in_folder, successor.recipe_digest, NOBODY)

    assert found.verdict is Verdict.FAILED
    assert f"the store's are {successor.weights_digest}" in found.why


@pytest.mark.parametrize("header", [None, "sha256:" + "1" * 64])
def test_a_server_that_names_what_the_store_does_not_know(
    in_folder: History, header: str | None
) -> None:
    found = asked(in_folder, NOBODY, NOBODY, header)

    assert found.verdict is Verdict.NOT_CHECKABLE


def test_an_honest_server_does_not_keep_the_check_from_ending_well(in_folder: History) -> None:
    successor = in_folder.said(3).successor
    assert successor is not None
    with saying(successor.recipe_digest, successor.weights_digest) as url:
        report = in_folder.verified(head=in_folder.head(), urls=(url,))

    assert report.exit_code == ExitCode.OK
