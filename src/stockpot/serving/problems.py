"""Each failure of a request, its status code, and how OpenAI's clients are told.

body ── too long ▸ 413, no JSON or a bad parameter ▸ 400 ──▶ order ── another model ▸ 404,
weights that do not serve ▸ 409, nothing serves yet ▸ 503, queue full ▸ 429 ──▶ drawing
── cut off ▸ 503, our fault ▸ 500 ──▶ pictures
"""

from collections.abc import Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from stockpot.errors import StockpotError
from stockpot.serving.grants import NothingServed
from stockpot.serving.orders import BadParameter, NotServed, UnknownModel
from stockpot.serving.worker import Busy, Ended

INVALID = "invalid_request_error"
UNAVAILABLE = "service_unavailable"


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
    said = {"message": message, "type": kind, "param": parameter, "code": code}
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    return JSONResponse({"error": said}, status, headers)


def of_error(error: StockpotError) -> JSONResponse:
    """The answer to a request that failed with an error of ours."""
    match error:
        case BadParameter():
            return problem(400, error.message, code="invalid_value", parameter=error.parameter)
        case UnknownModel():
            return problem(404, error.message, code="model_not_found", parameter="model")
        case NotServed():
            return problem(409, error.message, code="weights_not_served", parameter="model")
        case Busy():
            return problem(
                429, error.message, kind="rate_limit_error", code="queue_full", retry_after_s=5
            )
        case NothingServed():
            return problem(
                503, error.message, kind=UNAVAILABLE, code="nothing_served", retry_after_s=2
            )
        case Ended():
            return problem(503, error.message, kind=UNAVAILABLE, code="cut_off", retry_after_s=1)
        case _:
            return ours()


def ours() -> JSONResponse:
    """The answer where the fault is ours: the log has it, the caller does not need it."""
    return problem(500, "The server failed; its log says how.", kind="server_error")


def of_validation(error: RequestValidationError) -> JSONResponse:
    """The answer to a body that cannot be understood: the first thing that is wrong with it."""
    first: Mapping[str, Any] = error.errors()[0]
    if first["type"] == "json_invalid":
        return problem(400, "The body is not JSON.", code="invalid_json")
    parameter = ".".join(str(part) for part in first["loc"][1:]) or None
    if parameter is None:
        return problem(400, "The body must be a JSON object, sent as application/json.")
    if first["type"] == "extra_forbidden":
        return problem(
            400,
            f"Unknown or unsupported parameter: {parameter}.",
            code="unknown_parameter",
            parameter=parameter,
        )
    return problem(400, f"{parameter}: {first['msg']}.", code="invalid_value", parameter=parameter)
