"""The public port, for OpenAI's clients, probes and people."""

import base64
import io

import pytest
from PIL import Image
from tests.serving.server_fixtures import SOUP, Answer, RevisionStore, Server, a_server
from tests.tiny import RESOLUTION

from stockpot.api.runspec import RevisionRef


def pngs(answer: Answer) -> list[bytes]:
    return [base64.b64decode(image["b64_json"]) for image in answer.json()["data"]]


def test_before_the_first_grant_requests_get_503_with_retry_after(server: Server) -> None:
    answer = server.draw()

    assert answer.status == 503
    assert answer.json()["error"]["code"] == "nothing_served"
    assert int(answer.headers["retry-after"]) > 0
    assert server.get("/v2/health/ready").status == 503
    assert server.get("/v2/health/live").status == 200
    assert server.get("/v1/models").json()["data"] == []


def test_a_picture_says_which_revision_made_it(serving: Server, old: RevisionRef) -> None:
    answer = serving.draw(seed=7, num_inference_steps=2)

    assert answer.status == 200
    assert answer.headers["x-stockpot-revision"] == "1"
    assert answer.headers["x-stockpot-weights-digest"] == old.weights_digest
    body = answer.json()
    assert body["revision"] == {
        "soup": SOUP.name,
        "number": 1,
        "recipe_digest": old.recipe_digest,
        "weights_digest": old.weights_digest,
    }
    picture = Image.open(io.BytesIO(pngs(answer)[0]))
    assert (picture.format, picture.size) == ("PNG", (RESOLUTION, RESOLUTION))


def test_the_same_request_gives_the_same_bytes_alone_or_among_others(serving: Server) -> None:
    three = serving.draw(seed=7, n=3, num_inference_steps=2)

    alone = [pngs(serving.draw(seed=s, num_inference_steps=2))[0] for s in (7, 8, 9)]

    assert pngs(three) == alone
    assert len(set(alone)) == 3
    assert [image["seed"] for image in three.json()["data"]] == [7, 8, 9]


def test_a_random_seed_is_returned_and_can_be_requested(serving: Server) -> None:
    first = serving.draw(num_inference_steps=1)

    again = serving.draw(seed=first.json()["seed"], num_inference_steps=1)

    assert pngs(again) == pngs(first)


@pytest.mark.parametrize(
    "changed",
    [
        {"prompt": "a blue bar"},
        {"negative_prompt": "a red circle"},
        {"num_inference_steps": 3},
        {"guidance_scale": 9},
    ],
)
def test_every_parameter_matters(serving: Server, changed: dict[str, object]) -> None:
    request: dict[str, object] = {"prompt": "a red circle", "seed": 7, "num_inference_steps": 2}

    assert pngs(serving.draw(**{**request, **changed})) != pngs(serving.draw(**request))  # type: ignore[arg-type]


def test_parameters_that_clients_commonly_send_are_accepted(
    serving: Server, old: RevisionRef
) -> None:
    answer = serving.draw(
        model=f"{SOUP.name}@{old.weights_digest}",
        n=1,
        size=f"{RESOLUTION}x{RESOLUTION}",
        response_format="b64_json",
        output_format="png",
        num_inference_steps=1,
        user="somebody",
    )

    assert answer.status == 200


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        ({"n": 0}, "n"),
        ({"n": 9}, "n"),
        ({"n": "2"}, "n"),
        ({"size": "1024x1024"}, "size"),
        ({"response_format": "url"}, "response_format"),
        ({"output_format": "webp"}, "output_format"),
        ({"num_inference_steps": 0}, "num_inference_steps"),
        ({"num_inference_steps": 101}, "num_inference_steps"),
        ({"guidance_scale": -1}, "guidance_scale"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"quality": "hd"}, "quality"),
        ({"stream": True}, "stream"),
        ({"model": f"{SOUP.name}@latest"}, "model"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": "x" * 1001}, "prompt"),
        ({"prompt": None}, "prompt"),
    ],
)
def test_an_unsupported_value_is_refused_by_name(
    serving: Server, body: dict[str, object], parameter: str
) -> None:
    answer = serving.draw(**{"prompt": "a red circle", **body})  # type: ignore[arg-type]

    assert answer.status == 400
    error = answer.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", parameter)
    assert parameter in error["message"]


def test_another_model_is_not_found(serving: Server) -> None:
    answer = serving.draw(model="dall-e-3")

    assert answer.status == 404
    assert answer.json()["error"]["code"] == "model_not_found"


def test_weights_that_do_not_serve_are_a_conflict(serving: Server) -> None:
    answer = serving.draw(model=f"{SOUP.name}@sha256:{'0' * 64}")

    assert answer.status == 409
    assert answer.json()["error"]["code"] == "weights_not_served"


@pytest.mark.parametrize(
    ("sent", "status"), [(b"{", 400), (b"[]", 400), (b"x" * 70_000, 413), (b'{"prompt": NaN}', 400)]
)
def test_an_invalid_body_is_refused(serving: Server, sent: bytes, status: int) -> None:
    answer = serving.http.request(
        "POST",
        f"{serving.url}/v1/images/generations",
        body=sent,
        headers={"Content-Type": "application/json"},
    )

    assert answer.status == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_an_unknown_path_gets_an_error_in_the_same_format(serving: Server) -> None:
    answer = serving.get("/v1/chat/completions")

    assert answer.status == 404
    assert answer.json()["error"]["message"] == "Not Found"


def test_the_one_model_is_listed_with_its_revision(serving: Server, old: RevisionRef) -> None:
    (model,) = serving.get("/v1/models").json()["data"]

    assert (model["id"], model["object"]) == (SOUP.name, "model")
    assert model["revision"]["weights_digest"] == old.weights_digest
    assert serving.get("/v2/health/ready").json() == {"ready": True}


def test_the_page_needs_nothing_from_elsewhere(serving: Server) -> None:
    answer = serving.get("/")

    page = answer.body.decode()
    assert answer.status == 200
    assert "connect-src 'self'" in answer.headers["content-security-policy"]
    assert "http://" not in page
    assert "https://" not in page
    assert 'fetch("v1/images/generations"' in page


def test_requests_are_counted_by_the_code_of_their_answer(
    revisions: RevisionStore, old: RevisionRef, server: Server
) -> None:
    server.draw()
    server.serve(old, epoch=1)
    server.draw(n=2, num_inference_steps=1)
    server.draw(n=0)

    metrics = server.admin("/metrics").body.decode().splitlines()

    for line in (
        'stockpot_serving_requests_total{code="200"} 1.0',
        'stockpot_serving_requests_total{code="400"} 1.0',
        'stockpot_serving_requests_total{code="503"} 1.0',
        "stockpot_serving_request_duration_seconds_count 3.0",
        "stockpot_serving_images_total 2.0",
        "stockpot_serving_prepare_duration_seconds_count 1.0",
        "stockpot_serving_commit_duration_seconds_count 1.0",
        "stockpot_serving_queue_depth 0.0",
        "stockpot_serving_held_revisions 1.0",
        "stockpot_serving_epoch 1.0",
    ):
        assert line in metrics


def test_an_error_names_the_servers_resolution(revisions: RevisionStore, server: Server) -> None:
    with a_server(revisions, server.work / "other", resolution=32) as other:
        answer = other.draw(size="16x16")

    assert "32x32" in answer.json()["error"]["message"]
