"""A server reports the head of its store's receipts, and no request waits for a slow store."""

import threading

from tests.serving.server_fixtures import KEYS, SOUP, RevisionStore, Server, until

from stockpot.api.chain import ChainHead
from stockpot.api.runspec import RevisionRef
from stockpot.core.digests import digest_of_bytes
from stockpot.errors import Transient
from stockpot.serving.chain_head import FRESH_S, REFRESH_AFTER_S, ChainHeadCache


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class ScriptedStore:
    """A store whose chain grows, hangs or fails on demand."""

    def __init__(self) -> None:
        self.length, self.looks = 0, 0
        self.is_open, self.is_broken = threading.Event(), False
        self.is_open.set()

    def look(self) -> ChainHead:
        self.looks += 1
        self.is_open.wait(30)
        if self.is_broken:
            raise Transient("the store fails")
        return ChainHead(sequence=self.length, receipt=self.length)


def test_a_head_is_read_again_only_once_it_is_old() -> None:
    store, clock = ScriptedStore(), Clock()
    chain = ChainHeadCache(store.look, clock)
    until(lambda: chain.last_head() is not None)

    store.length = 1
    clock.now_s += REFRESH_AFTER_S
    assert chain.last_head() == ChainHead()
    clock.now_s += 1
    until(lambda: chain.last_head() == ChainHead(sequence=1, receipt=1))

    assert store.looks == 2


def test_a_store_that_hangs_blocks_no_caller() -> None:
    store, clock = ScriptedStore(), Clock()
    chain = ChainHeadCache(store.look, clock)
    store.is_open.clear()

    assert chain.last_head() is None
    assert chain.current_head(0.01) is None
    store.is_open.set()
    until(lambda: chain.last_head() == ChainHead())

    assert store.looks == 1


def test_a_failing_store_is_not_read_again_at_once() -> None:
    store, clock = ScriptedStore(), Clock()
    chain = ChainHeadCache(store.look, clock)
    store.is_broken = True

    assert chain.current_head(5) is None
    looks = store.looks
    for _ in range(10):
        assert chain.last_head() is None

    assert (looks, store.looks) == (2, 2)


def test_the_current_head_comes_from_a_read_that_began_after_the_call() -> None:
    store, clock = ScriptedStore(), Clock()
    chain = ChainHeadCache(store.look, clock)
    store.is_open.clear()
    chain.last_head()  # It hangs, and has seen nothing of what is written now.
    clock.now_s += FRESH_S + 1
    store.length = 3
    threading.Timer(0.05, store.is_open.set).start()

    head = chain.current_head(5)

    assert head is not None
    assert head.sequence == 3
    assert store.looks == 2


def test_a_picture_and_the_state_name_the_cached_head(
    revisions: RevisionStore, serving: Server, old: RevisionRef
) -> None:
    assert serving.get("/v1/chain").json() == {
        "soup": SOUP.name,
        "sequence": 0,
        "digest": None,
        "receipt": 0,
    }

    data = b'{"payload": "", "payloadType": "", "signatures": []}'
    revisions.store.put(KEYS.receipt(SOUP.uid, 1), data)
    try:
        until(lambda: serving.get("/v1/chain").json()["sequence"] == 1)

        head = f"1:{digest_of_bytes(data)}"
        assert serving.draw(num_inference_steps=1).headers["x-stockpot-chain-head"] == head
        assert str(serving.state().chain) == head
    finally:
        revisions.store.delete(KEYS.receipt(SOUP.uid, 1))


def test_the_state_repeats_the_nonce_of_the_request(serving: Server) -> None:
    state = serving.admin("/state?nonce=00ff").json()

    assert state["nonce"] == "00ff"
    assert serving.state().nonce == ""
    assert serving.admin("/state?nonce=<b>").status == 400
