"""OpenAI's own client with a real server: its requests work, and its errors are typed."""

import base64
import io
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from PIL import Image
from tests.serving.server_fixtures import SOUP, Server
from tests.tiny import RESOLUTION

from stockpot.api.runspec import RevisionRef

QUICK = {"num_inference_steps": 1, "seed": 7}
NULLS: dict[str, Any] = dict.fromkeys(
    (
        "background",
        "complexity",
        "frame_count",
        "frame_duration_ms",
        "model",
        "moderation",
        "n",
        "output_compression",
        "output_format",
        "partial_images",
        "quality",
        "response_format",
        "safety_identifier",
        "size",
        "stream",
        "style",
        "svg",
        "user",
    )
)


@pytest.fixture(scope="module")
def client(serving: Server) -> Iterator[openai.OpenAI]:
    with client_of(serving) as client:
        yield client


def client_of(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0)


def draw(client: openai.OpenAI, prompt: str = "a red circle", **parameters: Any) -> bytes:
    body = {**QUICK, **parameters.pop("extra_body", {})}
    answer = client.images.generate(prompt=prompt, extra_body=body, **parameters)
    assert answer.data is not None
    return base64.b64decode(answer.data[0].b64_json or "")


def test_the_one_model_is_listed_and_retrieved(client: openai.OpenAI, old: RevisionRef) -> None:
    (listed,) = client.models.list().data

    retrieved = client.models.retrieve(SOUP.name)

    assert retrieved == listed
    assert (listed.id, listed.object, listed.owned_by) == (SOUP.name, "model", "stockpot")
    assert listed.created > 1_700_000_000
    pinned = client.models.retrieve(f"{SOUP.name}@{old.weights_digest}")
    assert pinned.id == f"{SOUP.name}@{old.weights_digest}"


@pytest.mark.parametrize(
    "name",
    [
        "dall-e-3",
        "org/soup",
        f"{SOUP.name}/latest",
        f"{SOUP.name}:latest",
        f"{SOUP.name}@latest",
        f"{SOUP.name}@",
        f"{SOUP.name}@sha256:{'0' * 64}",
        f"@{SOUP.name}",
        "ünï",
        "%2e",
        f"{SOUP.name}?x=1",
        "x" * 4000,
    ],
)
def test_a_model_that_is_not_here_is_not_found(client: openai.OpenAI, name: str) -> None:
    with pytest.raises(openai.NotFoundError) as failed:
        client.models.retrieve(name)

    assert (failed.value.code, failed.value.param) == ("model_not_found", "model")
    assert failed.value.type == "invalid_request_error"


def test_a_model_that_does_not_serve_yet_is_unavailable(server: Server) -> None:
    with client_of(server) as client, pytest.raises(openai.InternalServerError) as failed:
        client.models.retrieve(SOUP.name)

    assert (failed.value.status_code, failed.value.code) == (503, "nothing_served")


@pytest.mark.parametrize(
    "parameters",
    [
        NULLS,
        {"extra_body": {"seed": 7, "negative_prompt": None, "guidance_scale": None}},
        {"model": SOUP.name},
        {"n": 1},
        {"size": "auto"},
        {"size": f"{RESOLUTION}x{RESOLUTION}"},
        {"quality": "auto"},
        {"quality": "standard"},
        {"background": "auto"},
        {"background": "opaque"},
        {"moderation": "auto"},
        {"output_format": "png"},
        {"output_compression": 100},
        {"partial_images": 0},
        {"response_format": "b64_json"},
        {"stream": False},
        {"user": "a user", "safety_identifier": "a hash"},
    ],
)
def test_explicit_defaults_draw_the_default_picture(
    client: openai.OpenAI, parameters: dict[str, Any]
) -> None:
    assert draw(client, **parameters) == draw(client)


@pytest.mark.parametrize(
    ("parameter", "value", "possible"),
    [
        ("size", "1024x1024", f"{RESOLUTION}x{RESOLUTION}"),
        ("size", "17x16", f"{RESOLUTION}x{RESOLUTION}"),
        ("quality", "hd", "'auto' or 'standard'"),
        ("quality", "low", "'auto' or 'standard'"),
        ("background", "transparent", "'auto' or 'opaque'"),
        ("moderation", "low", "'auto'"),
        ("output_format", "jpeg", "'png'"),
        ("output_format", "webp", "'png'"),
        ("output_format", "gif", "'png'"),
        ("output_compression", 50, "100"),
        ("partial_images", 2, "0"),
        ("response_format", "url", "'b64_json'"),
        ("stream", True, "false"),
        ("n", 10, "8"),
        ("style", "vivid", "style"),
        ("complexity", "low", "complexity"),
        ("svg", {"model": "any"}, "svg"),
        ("extra_query", {"n": 2}, "URL"),
    ],
)
def test_an_unsupported_value_is_refused_with_the_supported_ones(
    client: openai.OpenAI, parameter: str, value: Any, possible: str
) -> None:
    with pytest.raises(openai.BadRequestError) as failed:
        draw(client, **{parameter: value})

    assert failed.value.param == ("n" if parameter == "extra_query" else parameter)
    assert possible in str(failed.value)


def test_an_answer_describes_its_pictures_correctly(client: openai.OpenAI) -> None:
    answer = client.images.generate(prompt="a red circle", n=2, extra_body=QUICK)

    assert answer.data is not None
    drawn = [Image.open(io.BytesIO(base64.b64decode(it.b64_json or ""))) for it in answer.data]
    assert [(it.format, f"{it.width}x{it.height}") for it in drawn] == [("PNG", answer.size)] * 2
    assert answer.output_format == "png"
    assert {it.revised_prompt for it in answer.data} == {None}
