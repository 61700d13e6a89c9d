"""Each failure of a request, its status code, and how OpenAI's clients are told.

body ── too long ▸ 413, compressed ▸ 415, no JSON or a bad parameter ▸ 400 ──▶ order
── another model ▸ 404, weights that do not serve ▸ 409, nothing serves yet ▸ 503, queue full ▸ 429
──▶ drawing ── cut off ▸ 503, our fault ▸ 500 ──▶ pictures
"""

from collections.abc import Mapping
from typing import Any

from fastapi.responses import JSONResponse
from pydantic import ValidationError

from stockpot.errors import StockpotError
from stockpot.serving.grants import NoRevisionServed
from stockpot.serving.http_body import BadBody
from stockpot.serving.requests import BadParameter, UnknownModel, WeightsNotServed, quoted
from stockpot.serving.worker import QueueFull, RequestCutOff

INVALID = "invalid_request_error"
UNAVAILABLE = "service_unavailable"
_LONGEST_NAME = 100
"""Characters of a parameter's name that an answer repeats."""


def problem(
    status: int,
    message: str,
    *,
    kind: str = INVALID,
    code: str | None = None,
    parameter: str | None = None,
    retry_after_s: int | None = None,
) -> JSONResponse:
    """An answer in the shape that OpenAI's clients read."""
    if parameter is not None:
        parameter = _printable(parameter)[:_LONGEST_NAME]
    body = {"message": _printable(message), "type": kind, "param": parameter, "code": code}
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    return JSONResponse({"error": body}, status, headers)


def of_error(error: StockpotError) -> JSONResponse:
    """The answer to a request that failed with an error of ours."""
    match error:
        case BadParameter():
            return problem(400, error.message, code="invalid_value", parameter=error.parameter)
        case BadBody():
            return problem(error.status, error.message, code=error.code)
        case UnknownModel():
            return problem(404, error.message, code="model_not_found", parameter="model")
        case WeightsNotServed():
            return problem(409, error.message, code="weights_not_served", parameter="model")
        case QueueFull():
            return problem(
                429, error.message, kind="rate_limit_error", code="queue_full", retry_after_s=5
            )
        case NoRevisionServed():
            return problem(
                503, error.message, kind=UNAVAILABLE, code="nothing_served", retry_after_s=2
            )
        case RequestCutOff():
            return problem(503, error.message, kind=UNAVAILABLE, code="cut_off", retry_after_s=1)
        case _:
            return ours()


def ours() -> JSONResponse:
    """The answer where the fault is ours: the log has it, the caller does not need it."""
    return problem(500, "The server failed; its log says how.", kind="server_error")


def of_validation(error: ValidationError) -> JSONResponse:
    """The answer to a body that is no request: the first thing that is wrong with it."""
    first: Mapping[str, Any] = error.errors(include_url=False)[0]
    parameter = ".".join(str(part) for part in first["loc"])[:_LONGEST_NAME]
    if first["type"] == "extra_forbidden":
        return problem(
            400,
            f"Unknown or unsupported parameter: {quoted(parameter)}.",
            code="unknown_parameter",
            parameter=parameter,
        )
    what = first["msg"].removeprefix("Value error, ")  # Of a check of ours.
    return problem(400, f"{parameter}: {what}.", code="invalid_value", parameter=parameter)


def _printable(text: str) -> str:
    """Escape halves of surrogate pairs: JSON may name them, and UTF-8 has no bytes for them."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
