"""The public port: OpenAI's images API, Open Inference Protocol health checks, and a web page.

Routes only. `requests` parses a request, `model_routes` has the routes of models, `worker` draws,
`http_errors` maps errors to responses, and `middleware` wraps every route.
"""

import asyncio
import base64
import time
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.types import Receive

from stockpot.api.chain import ChainHead
from stockpot.errors import StockpotError
from stockpot.serving import http_errors
from stockpot.serving.chain_head import ChainHeadCache
from stockpot.serving.disconnects import client_leaves_before
from stockpot.serving.http_body import read_object
from stockpot.serving.metrics import ServerMetrics
from stockpot.serving.middleware import (
    CLIENT_LEFT,
    BodyLimitMiddleware,
    ConnectionCloseMiddleware,
    RequestMetricsMiddleware,
)
from stockpot.serving.model_routes import describe_revision, model_routes
from stockpot.serving.models import Models
from stockpot.serving.requests import (
    BadParameter,
    GenerationRequest,
    ImageRequest,
    UnknownText,
    generation_request,
    quoted,
)
from stockpot.serving.worker import GeneratedImages, Worker

IMAGES = "/v1/images/generations"
CHAIN = "/v1/chain"
CHAIN_TIMEOUT_S = 5.0
_PAGE_POLICY = (
    "default-src 'none'; connect-src 'self'; img-src data:; "
    "script-src 'unsafe-inline'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)


def public_app(
    *,
    soup: str,
    resolution: int,
    models: Models,
    worker: Worker,
    check: Callable[[GenerationRequest], tuple[UnknownText, ...]],
    metrics: ServerMetrics,
    chain: ChainHeadCache,
    is_ending: Callable[[], bool],
) -> FastAPI:
    """Build the ASGI application of the public port.

    Args:
        soup: The name of the one model.
        resolution: Width and height of its pictures, in pixels.
        models: Knows the revision that serves.
        worker: Draws.
        check: Refuses what the base cannot draw exactly as requested; see `Renderer.check`.
        metrics: Counts requests and pictures.
        chain: The head of the chain of receipts.
        is_ending: Whether the server is shutting down: it still answers, but is not ready.
    """
    # The usual documentation pages load scripts from elsewhere; /openapi.json is enough.
    app = FastAPI(
        title="Stockpot",
        docs_url=None,
        redoc_url=None,
        # A redirect would have no body that OpenAI's clients read.
        redirect_slashes=False,
        dependencies=[Depends(_refuse_query)],
    )
    app.add_middleware(BodyLimitMiddleware, metrics=metrics, path=IMAGES)
    app.add_middleware(RequestMetricsMiddleware, metrics=metrics, path=IMAGES)
    app.add_middleware(ConnectionCloseMiddleware, is_ending=is_ending)
    app.include_router(model_routes(soup, models))
    page = files("stockpot.serving").joinpath("page.html").read_text(encoding="utf-8")

    @app.post(IMAGES, openapi_extra=_image_request_schema())
    async def generate(http: Request) -> Response:
        """Draw pictures. Each is a function of the weights, the prompt, its seed and the steps."""
        try:
            body = ImageRequest.model_validate(read_object(http.headers, await http.body()))
        except ValidationError as error:
            return http_errors.response_to_invalid_body(error)
        request = generation_request(body, soup=soup, resolution=resolution)
        unknown = check(request)
        pictures = await _draw(worker, request, http.receive, metrics)
        if pictures is None:
            return Response(status_code=CLIENT_LEFT)
        metrics.images.inc(len(pictures.pngs))
        return _answer(soup, resolution, request, pictures, unknown, chain.last_head())

    @app.get(CHAIN)
    def head() -> JSONResponse:
        """Return the head of the soup's chain of receipts, read from the store now."""
        current = chain.current_head(CHAIN_TIMEOUT_S)
        if current is None:
            return http_errors.error_response(
                503, "The head of the chain of receipts could not be read from the store in time."
            )
        return JSONResponse({"soup": soup, **current.model_dump(mode="json")})

    @app.get("/v2/health/live")
    async def live() -> dict[str, bool]:
        return {"live": True}

    @app.get("/v2/health/ready")
    async def ready() -> JSONResponse:
        is_ready = models.serving() is not None and not is_ending()
        return JSONResponse({"ready": is_ready}, 200 if is_ready else 503)

    @app.get("/", include_in_schema=False)
    async def web_page() -> HTMLResponse:
        return HTMLResponse(page, headers={"Content-Security-Policy": _PAGE_POLICY})

    _add_error_handlers(app)
    return app


async def _refuse_query(request: Request) -> None:
    """Refuse parameters in the URL: no route reads any, and none is ignored."""
    if request.url.path.startswith("/v1/") and (names := list(request.query_params)):
        raise BadParameter(
            names[0],
            f"{quoted(names[0])} is a parameter of the URL, and none are read there; put it into "
            "the JSON body.",
        )


async def _draw(
    worker: Worker, request: GenerationRequest, receive: Receive, metrics: ServerMetrics
) -> GeneratedImages | None:
    """Wait for a request's pictures; return None if the client disconnects first."""
    future = worker.submit(request)
    answer = asyncio.wrap_future(future)
    try:
        if await client_leaves_before(answer, receive):
            if stage := worker.withdraw(future):
                metrics.disconnects.labels(stage=stage).inc()
            return None
        return answer.result()
    finally:
        answer.cancel()  # Otherwise asyncio warns that a withdrawn request's error was not read.


def _answer(
    soup: str,
    resolution: int,
    request: GenerationRequest,
    pictures: GeneratedImages,
    unknown: tuple[UnknownText, ...],
    head: ChainHead | None,
) -> JSONResponse:
    granted = pictures.granted
    data = [
        {"b64_json": base64.b64encode(png).decode("ascii"), "seed": seed}
        for png, seed in zip(pictures.pngs, request.seeds, strict=True)
    ]
    body: dict[str, object] = {
        "created": int(time.time()),
        "data": data,
        "output_format": "png",
        "size": f"{resolution}x{resolution}",
        "seed": request.seeds[0],
        "revision": describe_revision(soup, granted),
    }
    if unknown:
        body["unknown_text"] = [{"param": it.parameter, "text": it.text} for it in unknown]
    headers = {
        "X-Stockpot-Revision": str(granted.number),
        "X-Stockpot-Weights-Digest": granted.revision.weights_digest,
    }
    if head is not None:
        headers["X-Stockpot-Chain-Head"] = str(head)
    return JSONResponse(body, headers=headers)


def _image_request_schema() -> dict[str, Any]:
    """Describe the body for /openapi.json: `read_object` parses it, so FastAPI does not know it."""
    schema = ImageRequest.model_json_schema()
    for name, field in schema["properties"].items():
        if name not in schema["required"] and "anyOf" not in field:
            annotations = {
                key: field.pop(key) for key in ("title", "description", "default") if key in field
            }
            schema["properties"][name] = {"anyOf": [field, {"type": "null"}], **annotations}
    content = {"application/json": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(StockpotError)
    async def failed(_: Request, error: StockpotError) -> Response:
        return http_errors.response_to_error(error)

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> Response:
        answer = http_errors.error_response(error.status_code, str(error.detail))
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(Exception)
    async def broken(_: Request, __: Exception) -> Response:
        return http_errors.internal_error()
