"""The reference page of the server documents exactly what the server supports."""

import inspect
import re
from pathlib import Path

from stockpot.cluster.manifests import deployment as cluster
from stockpot.serving import http_errors
from stockpot.serving.middleware import MAX_BODY_BYTES
from stockpot.serving.requests import (
    MAX_GUIDANCE,
    MAX_PICTURES,
    MAX_PROMPT_CHARACTERS,
    MAX_STEPS,
    NEVER_SUPPORTED,
    ImageRequest,
)

PAGE = (Path(__file__).parents[2] / "docs/reference/serving.md").read_text()


def section(title: str) -> str:
    (text,) = re.findall(rf"^## {title}$(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    return str(text)


def test_every_parameter_has_its_row_with_its_default() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \|", section("Requests"), re.M)
    defaults = {name: default.strip("` ") for name, _, default in rows}

    assert set(defaults) == ImageRequest.model_fields.keys() | NEVER_SUPPORTED
    assert {name for name, values, _ in rows if values == "only `null`"} == NEVER_SUPPORTED
    for name, field in ImageRequest.model_fields.items():
        if field.default and not field.is_required():
            documented = (
                float(defaults[name]) if type(field.default) in {int, float} else defaults[name]
            )
            assert documented == field.default, name


def test_limits_are_those_of_the_server() -> None:
    requests = section("Requests")

    assert f"| `n` | 1 to {MAX_PICTURES} |" in requests
    assert f"| `num_inference_steps` | 1 to {MAX_STEPS} |" in requests
    assert f"1 to {MAX_GUIDANCE} |" in requests
    assert f"{MAX_PROMPT_CHARACTERS:,} characters" in requests
    assert f"{MAX_BODY_BYTES >> 10} KiB" in requests


def test_every_code_of_an_error_has_its_row() -> None:
    known = set(re.findall(r'code="(\w+)"', inspect.getsource(http_errors)))
    named = set(re.findall(r"^\| \d+ \| `(\w+)`", section("Errors"), re.M))

    assert named >= known


def test_shutdown_times_are_those_of_the_pod() -> None:
    times = section("When a server ends")

    for seconds in (cluster.PRE_STOP_S, cluster.LEAVE_S, cluster.FINISH_S, cluster.CUT_OFF_S):
        assert f"{seconds} s" in times
    assert f"ends {cluster.PRE_STOP_S + cluster.LEAVE_S} seconds after" in times
