"""Maps each failure of a request to its HTTP status and an error body as OpenAI's API has it.

body ── too long ▸ 413, compressed ▸ 415, no JSON or a bad parameter ▸ 400 ──▶ request
── another model ▸ 404, weights that do not serve ▸ 409, nothing serves yet ▸ 503, queue full ▸ 429
──▶ drawing ── cut off ▸ 503, internal error ▸ 500 ──▶ pictures
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
"""How many characters of a parameter's name an answer repeats."""


def error_response(
    status: int,
    message: str,
    *,
    kind: str = INVALID,
    code: str | None = None,
    parameter: str | None = None,
    retry_after_s: int | None = None,
) -> JSONResponse:
    """Build an error response in the format that OpenAI's clients parse."""
    if parameter is not None:
        parameter = _printable(parameter)[:_LONGEST_NAME]
    body = {"message": _printable(message), "type": kind, "param": parameter, "code": code}
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    return JSONResponse({"error": body}, status, headers)


def response_to_error(error: StockpotError) -> JSONResponse:
    """Build the response to a request that failed with an error of Stockpot."""
    match error:
        case BadParameter():
            return error_response(
                400, error.message, code="invalid_value", parameter=error.parameter
            )
        case BadBody():
            return error_response(error.status, error.message, code=error.code)
        case UnknownModel():
            return error_response(404, error.message, code="model_not_found", parameter="model")
        case WeightsNotServed():
            return error_response(409, error.message, code="weights_not_served", parameter="model")
        case QueueFull():
            return error_response(
                429, error.message, kind="rate_limit_error", code="queue_full", retry_after_s=5
            )
        case NoRevisionServed():
            return error_response(
                503, error.message, kind=UNAVAILABLE, code="nothing_served", retry_after_s=2
            )
        case RequestCutOff():
            return error_response(
                503, error.message, kind=UNAVAILABLE, code="cut_off", retry_after_s=1
            )
        case _:
            return internal_error()


def internal_error() -> JSONResponse:
    """Build the response to an unexpected error: its details go to the log, not to the caller."""
    return error_response(500, "The server failed; its log has the details.", kind="server_error")


def response_to_invalid_body(error: ValidationError) -> JSONResponse:
    """Build the response to a body that does not validate: it names the first error."""
    first: Mapping[str, Any] = error.errors(include_url=False)[0]
    parameter = ".".join(str(part) for part in first["loc"])[:_LONGEST_NAME]
    if first["type"] == "extra_forbidden":
        return error_response(
            400,
            f"Unknown or unsupported parameter: {quoted(parameter)}.",
            code="unknown_parameter",
            parameter=parameter,
        )
    what = first["msg"].removeprefix("Value error, ")  # pydantic's prefix for our validators
    return error_response(400, f"{parameter}: {what}.", code="invalid_value", parameter=parameter)


def _printable(text: str) -> str:
    """Escape halves of surrogate pairs: JSON can spell them, but UTF-8 cannot encode them."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
