"""Requests that are not used exactly as given: refused by name, or named in the answer."""

import base64
import json
import shutil
import socket
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit

import pytest
from tests import tiny
from tests.serving.server_fixtures import (
    KEYS,
    SOUP,
    RevisionStore,
    Server,
    a_revision_store,
    a_server,
)

from stockpot.api.runspec import RevisionRef
from stockpot.diffusion.families.registry import open_family
from stockpot.serving.renderer import Renderer
from stockpot.serving.requests import BadParameter, GenerationRequest
from stockpot.store.folder import FolderStore

ERROR_FIELDS = {"message", "type", "param", "code"}
PROMPT = "a red circle"


def send(
    server: Server,
    body: bytes,
    path: str = "/v1/images/generations",
    method: str = "POST",
    **headers: str,
) -> tuple[int, dict[str, str | None], dict[str, str]]:
    """Send bytes with urllib, which writes all of them before it reads an answer."""
    all_headers = {"Content-Type": "application/json"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    request = urllib.request.Request(server.url + path, body, all_headers, method=method)
    with pytest.raises(HTTPError) as failed:
        urllib.request.urlopen(request, timeout=60)
    error: dict[str, str | None] = json.loads(failed.value.read())["error"]
    assert set(error) == ERROR_FIELDS
    return failed.value.code, error, dict(failed.value.headers)


@pytest.mark.parametrize("parameter", ["prompt", "negative_prompt"])
@pytest.mark.parametrize("lost", ["cat", "dog"])
def test_a_text_beyond_the_window_is_refused_with_what_would_be_lost(
    serving: Server, parameter: str, lost: str
) -> None:
    answer = serving.draw(**{"prompt": PROMPT, parameter: f"a big red circle {lost}"})

    assert answer.status == 400
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == (parameter, "invalid_value")
    assert "has 7 tokens" in error["message"]
    assert f"reads {tiny.PROMPT_TOKENS}: '{lost}'" in error["message"]
    assert "character 16" in error["message"]


def test_a_text_that_just_fits_is_drawn_to_its_last_word(serving: Server) -> None:
    drawn = {
        serving.draw(f"a big red {shape}", seed=1, num_inference_steps=2).body
        for shape in ("circle", "bar")
    }

    assert len({json.loads(body)["data"][0]["b64_json"] for body in drawn}) == 2


@pytest.mark.parametrize(
    "prompt", [" ", "\n\t", "\u200b", "a [SEP] bar", "[PAD]", "[MASK] bar", "red apple " * 200]
)
def test_a_prompt_that_would_be_read_as_something_else_is_refused(
    serving: Server, prompt: str
) -> None:
    answer = serving.draw(prompt)

    assert answer.status == 400
    assert answer.json()["error"]["param"] == "prompt"


def test_words_that_the_text_encoder_does_not_know_are_named(serving: Server) -> None:
    named = serving.draw("a zebra", negative_prompt="😀 bar", num_inference_steps=1).json()
    plain = serving.draw(PROMPT, num_inference_steps=1).json()

    assert named["unknown_text"] == [
        {"param": "prompt", "text": "zebra"},
        {"param": "negative_prompt", "text": "😀"},
    ]
    assert "unknown_text" not in plain


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        ({"negative_prompt": "a bar", "guidance_scale": 1}, "negative_prompt"),
        ({"negative_prompt": "a bar", "guidance_scale": 0}, "negative_prompt"),
        ({"guidance_scale": 0.5}, "guidance_scale"),
        ({"guidance_scale": 50.1}, "guidance_scale"),
        ({"guidance_scale": "3"}, "guidance_scale"),
        ({"guidance_scale": True}, "guidance_scale"),
        ({"num_inference_steps": 2.0}, "num_inference_steps"),
        ({"num_inference_steps": True}, "num_inference_steps"),
        ({"n": 1.5}, "n"),
        ({"n": [1]}, "n"),
        ({"seed": 1.0}, "seed"),
        ({"seed": "1"}, "seed"),
        ({"size": ""}, "size"),
        ({"size": 16}, "size"),
        ({"size": "16X16"}, "size"),
        ({"size": "16x16 "}, "size"),
        ({"stream": 0}, "stream"),
        ({"stream": "false"}, "stream"),
        ({"partial_images": False}, "partial_images"),
        ({"output_compression": 100.0}, "output_compression"),
        ({"quality": "AUTO"}, "quality"),
        ({"style": "auto"}, "style"),
        ({"model": ""}, "model"),
        ({"model": ["emoji"]}, "model"),
        ({"model": "emoji@"}, "model"),
        ({"user": "x" * 257}, "user"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": {"text": "a"}}, "prompt"),
        ({"prompt": 7}, "prompt"),
        ({"width": 16}, "width"),
        ({"lora": None}, "lora"),
        ({"": 1}, ""),
        ({"N": 2}, "N"),
    ],
)
def test_a_value_that_would_not_be_used_is_refused_by_name(
    serving: Server, body: dict[str, object], parameter: str
) -> None:
    answer = serving.draw(**{"prompt": PROMPT, "num_inference_steps": 1, **body})  # type: ignore[arg-type]

    is_another_model = body.get("model") == ""
    assert answer.status == (404 if is_another_model else 400)
    error = answer.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", parameter)
    assert parameter in error["message"]


@pytest.mark.parametrize(
    ("body", "because"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'{"prompt": "a",}', "not JSON"),
        (b"{'prompt': 'a'}", "not JSON"),
        (b'{"prompt": "a"} {}', "not JSON"),
        (b'{"prompt": "a", "guidance_scale": NaN}', "NaN"),
        (b'{"prompt": "a", "guidance_scale": -Infinity}', "-Infinity"),
        (b'{"prompt": "a", "guidance_scale": 1e999}', "finite"),
        (b'{"prompt": "a", "seed": 1' + b"0" * 5000 + b"}", "digits"),
        (b'{"prompt": "a", "seed": 1' + b"0" * 400 + b"}", "seed"),
        (b"[" * 60_000, "nested too deeply"),
        (b'{"prompt": "\xe9"}', "UTF-8"),
        (b'{"prompt": "\\ud800"}', "prompt"),
        (b'{"prompt": "a", "\\udfff": 1}', "UTF-8"),
        (b'{"prompt": "a", "prompt": "b"}', "'prompt' is given twice"),
        (b'{"prompt": "a", "seed": 1, "seed": 2}', "'seed' is given twice"),
        (b"[]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'"a red circle"', "must be a JSON object"),
        (b"{}", "prompt"),
    ],
)
def test_an_invalid_body_is_refused_with_the_reason(
    serving: Server, body: bytes, because: str
) -> None:
    status, error, _ = send(serving, body)

    assert status == 400
    assert because in (error["message"] or "")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content_Type": "text/plain"}, 400),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 400),
        ({"Content_Type": "multipart/form-data; boundary=x"}, 400),
        ({"Content_Type": "application/json; charset=utf-16"}, 400),
        ({"Content_Encoding": "gzip"}, 415),
        ({"Content_Encoding": "identity, br"}, 415),
    ],
)
def test_a_body_with_another_content_type_or_encoding_is_refused(
    serving: Server, headers: dict[str, str], status: int
) -> None:
    assert send(serving, b'{"prompt": "a red circle"}', **headers)[0] == status


@pytest.mark.parametrize(
    "content_type",
    ["application/json; charset=UTF-8", "APPLICATION/JSON", "application/vnd.api+json"],
)
def test_json_by_any_of_its_names_is_read(serving: Server, content_type: str) -> None:
    answer = serving.http.request(
        "POST",
        f"{serving.url}/v1/images/generations",
        body=b'\xef\xbb\xbf{"prompt": "a red circle", "num_inference_steps": 1}',
        headers={"Content-Type": content_type},
    )

    assert answer.status == 200


@pytest.mark.parametrize("size_bytes", [65_537, 1_000_000, 20_000_000])
def test_a_client_that_sends_too_much_gets_its_answer(serving: Server, size_bytes: int) -> None:
    status, error, _ = send(serving, b"x" * size_bytes)

    assert (status, error["code"]) == (413, "body_too_long")


def test_a_client_that_asks_before_it_sends_too_much_need_not_send_it(serving: Server) -> None:
    address = urlsplit(serving.url)
    head = (
        "POST /v1/images/generations HTTP/1.1",
        "Host: pictures",
        "Content-Type: application/json",
        f"Content-Length: {10**9}",
        "Expect: 100-continue",
    )
    with socket.create_connection((address.hostname, address.port), timeout=60) as client:
        client.sendall("\r\n".join((*head, "", "")).encode())
        assert client.recv(12) == b"HTTP/1.1 413"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/images/edits", 404),
        ("POST", "/v1/images/generations/", 404),
        ("POST", "/v1/images/generations?n=2", 400),
        ("GET", "/v1/models?limit=1", 400),
        ("GET", "/v1/models/", 404),
        ("GET", "/v1/images/generations", 405),
        ("DELETE", "/v1/models/emoji", 405),
    ],
)
def test_another_address_is_refused_in_the_same_shape(
    serving: Server, method: str, path: str, status: int
) -> None:
    code, _, headers = send(serving, b'{"prompt": "a red circle"}', path, method)

    assert code == status
    assert ("allow" in headers) == (status == 405)


def test_the_description_of_the_api_takes_nulls(serving: Server) -> None:
    described = serving.get("/openapi.json").json()["paths"]["/v1/images/generations"]["post"]

    content = described["requestBody"]["content"]["application/json"]
    fields = content["schema"]["properties"]
    assert {"type": "null"} in fields["n"]["anyOf"]
    assert fields["n"]["default"] == 1
    assert fields["prompt"]["type"] == "string"


@pytest.fixture(scope="module")
def few_steps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose base has a schedule of 10 noise levels."""
    revisions = a_revision_store(tmp_path_factory.mktemp("few"))
    edit(revisions.base / "scheduler/scheduler_config.json", num_train_timesteps=10)
    revision = revisions.publish("one")
    with a_server(revisions, revisions.root / "work") as server:
        server.serve(revision, epoch=1)
        yield server


def edit(path: Path, **fields: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_more_steps_than_the_schedule_has_are_refused(few_steps: Server) -> None:
    answer = few_steps.draw(num_inference_steps=11)

    assert answer.status == 400
    assert answer.json()["error"]["param"] == "num_inference_steps"
    assert few_steps.draw(num_inference_steps=10).status == 200


@pytest.mark.parametrize("guidance", [0.5, 3])
def test_a_base_that_was_distilled_with_guidance_takes_any_and_no_negative_prompt(
    tmp_path: Path, guidance: float
) -> None:
    base = tiny.a_base(tmp_path)
    edit(base / "unet/config.json", time_cond_proj_dim=8)
    renderer = Renderer(FolderStore(tmp_path), KEYS, SOUP.uid, open_family(base), tiny.RESOLUTION)
    request = GenerationRequest(PROMPT, "", (1,), steps=2, guidance=guidance)

    assert renderer.check(request) == ()
    with pytest.raises(BadParameter, match="negative_prompt would not be used"):
        renderer.check(replace(request, negative_prompt="a bar"))


def test_a_base_whose_encoder_ends_before_its_tokenizer_reads_what_the_encoder_can(
    revisions: RevisionStore, old: RevisionRef, tmp_path: Path
) -> None:
    other = RevisionStore(tmp_path / "long")
    shutil.copytree(revisions.root, other.root)
    edit(other.base / "tokenizer/tokenizer_config.json", model_max_length=77)
    with a_server(other, tmp_path / "work") as server:
        server.serve(old, epoch=1)

        fits = server.draw(" ".join(["red"] * 14), num_inference_steps=1)
        long = server.draw(" ".join(["red"] * 15), num_inference_steps=1)

    assert base64.b64decode(fits.json()["data"][0]["b64_json"]).startswith(b"\x89PNG")
    assert "has 17 tokens, and the text encoder reads 16" in long.json()["error"]["message"]
