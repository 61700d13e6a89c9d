"""Revisions change under a running server: no request fails or mixes two, no broken one serves.

Invariant 7.
"""

import base64
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests import tiny
from tests.serving.server_fixtures import KEYS, SOUP, Answer, RevisionStore, Server, a_server, until

from stockpot.api.runspec import RevisionRef
from stockpot.diffusion.families.registry import open_family
from stockpot.serving.renderer import Renderer
from stockpot.serving.requests import GenerationRequest


def recomputed(revisions: RevisionStore, revision: RevisionRef, seed: int, scratch: Path) -> bytes:
    """Draw it again from the revision's weights in the store, with no server."""
    family = open_family(revisions.base)
    renderer = Renderer(revisions.store, KEYS, SOUP.uid, family, tiny.RESOLUTION)
    request = GenerationRequest("a red circle", "", (seed,), steps=2, guidance=3.0)
    return renderer.draw(renderer.load(revision, scratch), request, seed, lambda: None)


def test_no_request_fails_or_is_torn_while_the_soup_changes(
    revisions: RevisionStore, old: RevisionRef, new: RevisionRef, server: Server, tmp_path: Path
) -> None:
    server.serve(old, epoch=1)
    seeds = range(3)
    expected = {
        (revision.weights_digest, seed): recomputed(
            revisions, revision, seed, tmp_path / revision.weights_digest
        )
        for revision in (old, new)
        for seed in seeds
    }
    answers: list[tuple[int, Answer]] = []
    enough = threading.Event()

    def hammer(seed: int) -> None:
        while not enough.is_set():
            answers.append((seed, server.draw(seed=seed, num_inference_steps=2)))

    clients = [threading.Thread(target=hammer, args=(seed,)) for seed in seeds]
    for client in clients:
        client.start()
    for epoch, revision in enumerate((new, old, new), start=2):
        server.serve(revision, epoch)
        enough_of_it = len(answers) + 6
        until(lambda many=enough_of_it: len(answers) > many)  # type: ignore[misc]
    enough.set()
    for client in clients:
        client.join()

    assert Counter(answer.status for _, answer in answers) == {200: len(answers)}
    served = set()
    for seed, answer in answers:
        digest = answer.headers["x-stockpot-weights-digest"]
        body = answer.json()
        assert body["revision"]["weights_digest"] == digest
        assert base64.b64decode(body["data"][0]["b64_json"]) == expected[digest, seed]
        served.add(digest)
    assert served == {old.weights_digest, new.weights_digest}


def test_the_old_revision_is_really_dropped(
    old: RevisionRef, new: RevisionRef, server: Server
) -> None:
    server.serve(old, epoch=1)
    server.draw(num_inference_steps=1)
    grant = server.prepared(new, epoch=2)
    while_prepared = server.held()

    server.commit(grant)

    assert while_prepared == {"old", "new"}
    until(lambda: server.held() == {"new"})
    assert list((server.work / "fetched").iterdir()) == []


@pytest.mark.parametrize("verb", ["prepare", "commit"])
def test_a_late_grant_is_refused(
    old: RevisionRef, new: RevisionRef, server: Server, verb: str
) -> None:
    server.serve(new, epoch=5)

    answers = [
        getattr(server, verb)(late)
        for late in (
            server.grant(old, 4),
            server.grant(old, 5),
            server.grant(old, 6, instance_id="x"),
        )
    ]

    assert [answer.status for answer in answers] == [409, 409, 409]
    assert all(answer.json()["help"] for answer in answers)
    assert server.held() == {"new"}
    assert server.state().epoch == 5


def test_an_invalid_grant_is_refused(server: Server) -> None:
    answer = server.ask("POST", f"{server.admin_url}/weights:prepare", {"epoch": 0})

    assert answer.status == 400
    assert server.state().epoch == 0


def broken_digest(revisions: RevisionStore) -> RevisionRef:
    return revisions.publish("misnamed", seed=3).model_copy(
        update={"weights_digest": "sha256:" + "0" * 64}
    )


def edited(revisions: RevisionStore) -> RevisionRef:
    revision = revisions.publish("edited", seed=4)
    file = revisions.weights_file(revision)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    return revision


def cut_short(revisions: RevisionStore) -> RevisionRef:
    revision = revisions.publish("cut", seed=5)
    file = revisions.weights_file(revision)
    file.write_bytes(file.read_bytes()[:-2])
    return revision


def of_another_base(revisions: RevisionStore) -> RevisionRef:
    made = revisions.root / "made" / "other.safetensors"
    tiny.some_weights(revisions.base, made)
    tensors = load_file(made)
    tensors["conv_in.weight"] = torch.zeros(16, 4, 3, 3, dtype=torch.float16)
    save_file(tensors, made)
    return revisions.publish_file("other", made)


def overflowing(revisions: RevisionStore) -> RevisionRef:
    """Finite weights whose picture has infinite values."""
    made = revisions.root / "made" / "huge.safetensors"
    tiny.some_weights(revisions.base, made, dtype=torch.float32)
    save_file({key: tensor * 1e37 for key, tensor in load_file(made).items()}, made)
    return revisions.publish_file("huge", made)


def not_there(revisions: RevisionStore) -> RevisionRef:
    return RevisionRef(recipe_digest="sha256:" + "1" * 64, weights_digest="sha256:" + "2" * 64)


def made_from_more(revisions: RevisionStore) -> RevisionRef:
    return revisions.publish("more", seed=6).model_copy(update={"lineage": ()})


def forgotten(revisions: RevisionStore) -> RevisionRef:
    revision = revisions.publish("forgotten", seed=7)
    revisions.forget("forgotten")
    return revision


@pytest.mark.parametrize(
    ("make", "because"),
    [
        (broken_digest, "was named"),
        (edited, "edited or cut short"),
        (cut_short, "edited or cut short"),
        (of_another_base, "does not fit the base's denoiser"),
        (overflowing, "not made of numbers"),
        (not_there, "there is no revision there"),
        (made_from_more, "shards that were not named: ['more']"),
        (forgotten, "shard forgotten was forgotten"),
    ],
)
def test_a_broken_revision_is_refused_and_the_old_one_keeps_serving(
    revisions: RevisionStore,
    old: RevisionRef,
    new: RevisionRef,
    server: Server,
    make: Callable[[RevisionStore], RevisionRef],
    because: str,
) -> None:
    server.serve(old, epoch=1)
    broken = server.grant(make(revisions), epoch=2)

    assert server.prepare(broken).status == 202
    until(lambda: server.state().problem != "")

    assert because in server.state().problem
    assert server.commit(broken).status == 409
    answer = server.draw(num_inference_steps=1)
    assert answer.headers["x-stockpot-weights-digest"] == old.weights_digest
    assert list((server.work / "fetched").iterdir()) == []
    server.serve(new, epoch=3)
    until(lambda: server.held() == {"new"})
    assert server.state().problem == ""


def test_nan_weights_are_refused_by_the_name_of_their_tensor(
    revisions: RevisionStore, new: RevisionRef, server: Server
) -> None:
    # No honest merge can publish NaN, so it is written straight into the store.
    revision = revisions.publish("nan", seed=8)
    file = revisions.weights_file(revision)
    data = np.frombuffer(file.read_bytes(), dtype=np.uint8).copy()
    data[-2:] = np.array([0x7E00], dtype="<u2").view(np.uint8)
    file.write_bytes(data.tobytes())
    from stockpot.store.sources import file_digest

    server.prepare(
        server.grant(revision.model_copy(update={"weights_digest": file_digest(file)}), 1)
    )

    until(lambda: server.state().problem != "")
    assert "has a NaN at" in server.state().problem


def test_a_running_request_ends_on_the_revision_that_began_it(
    revisions: RevisionStore, old: RevisionRef, new: RevisionRef, tmp_path: Path
) -> None:
    with a_server(revisions, tmp_path / "work", drain_s=240) as server:
        server.serve(old, epoch=1)
        grant = server.prepared(new, epoch=2)
        answers: list[Answer] = []
        client = threading.Thread(
            target=lambda: answers.append(server.draw(num_inference_steps=30))
        )
        client.start()
        until(lambda: b"stockpot_serving_busy 1.0" in server.admin("/metrics").body)

        server.commit(grant)
        held = server.held()
        client.join()

        assert held == {"old", "new"}
        assert answers[0].headers["x-stockpot-weights-digest"] == old.weights_digest
        after = server.draw(num_inference_steps=1)
        assert after.headers["x-stockpot-weights-digest"] == new.weights_digest
        until(lambda: server.held() == {"new"})


def test_after_the_drain_time_a_running_request_is_cut_off(
    revisions: RevisionStore, old: RevisionRef, new: RevisionRef, tmp_path: Path
) -> None:
    with a_server(revisions, tmp_path / "work", drain_s=0) as server:
        server.serve(old, epoch=1)
        grant = server.prepared(new, epoch=2)
        answers: list[Answer] = []
        client = threading.Thread(
            target=lambda: answers.append(server.draw(n=8, num_inference_steps=100))
        )
        client.start()
        until(lambda: b"stockpot_serving_busy 1.0" in server.admin("/metrics").body)

        server.commit(grant)
        client.join()

        assert answers[0].status == 503
        assert answers[0].json()["error"]["code"] == "cut_off"
        assert int(answers[0].headers["retry-after"]) > 0
        until(lambda: server.held() == {"new"})
        assert server.draw(num_inference_steps=1).status == 200


def test_weights_of_another_type_and_pin_are_taken_at_their_turn(
    revisions: RevisionStore, old: RevisionRef, server: Server
) -> None:
    made = tiny.some_weights(
        revisions.base, revisions.root / "made" / "bf16.safetensors", seed=9, dtype=torch.bfloat16
    )
    revision = revisions.publish_file("bf16", made)
    server.serve(revision, epoch=1)

    pinned = server.draw(
        model=f"{SOUP.name}@{revision.weights_digest}", num_inference_steps=1, seed=0
    )
    server.serve(old, epoch=2)
    no_longer = server.draw(model=f"{SOUP.name}@{revision.weights_digest}", seed=0)

    assert (pinned.status, no_longer.status) == (200, 409)
