"""The public port: OpenAI's images API, health as the Open Inference Protocol has it, and a page.

Routes only: what a request means is in `orders`, who answers it in `worker`, how a failure is told
in `problems`.
"""

import asyncio
import base64
import time
from importlib.resources import files

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stockpot.api.chain import ChainHead
from stockpot.api.serving import Granted
from stockpot.errors import StockpotError
from stockpot.serving import problems
from stockpot.serving.chain import Chain
from stockpot.serving.meters import Meters
from stockpot.serving.models import Models
from stockpot.serving.orders import ImageRequest, order_of
from stockpot.serving.worker import Pictures, Worker

MAX_BODY_BYTES = 64 << 10
IMAGES = "/v1/images/generations"
CHAIN = "/v1/chain"
CHAIN_TIMEOUT_S = 5.0
_PAGE_POLICY = (
    "default-src 'none'; connect-src 'self'; img-src data:; "
    "script-src 'unsafe-inline'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)


def public_app(
    *, soup: str, resolution: int, models: Models, worker: Worker, meters: Meters, chain: Chain
) -> FastAPI:
    """The ASGI application of the public port."""
    # The usual documentation pages load scripts from elsewhere; /openapi.json is enough.
    app = FastAPI(title="Stockpot", docs_url=None, redoc_url=None)
    app.add_middleware(_Bounded)
    app.add_middleware(_Measured, meters=meters)
    page = files("stockpot.serving").joinpath("page.html").read_text(encoding="utf-8")

    @app.post(IMAGES)
    async def generate(request: ImageRequest) -> JSONResponse:
        """Draw pictures. Each is a function of the weights, the prompt, its seed and the steps."""
        order = order_of(request, soup=soup, resolution=resolution)
        pictures = await asyncio.wrap_future(worker.submit(order))
        meters.images.inc(len(pictures.pngs))
        return _answer(soup, order.seeds, pictures, chain.seen())

    @app.get("/v1/models")
    async def list_models() -> dict[str, object]:
        serving = models.serving()
        listed = [_model(soup, serving)] if serving else []
        return {"object": "list", "data": listed}

    @app.get(CHAIN)
    def head() -> JSONResponse:
        """Say where the soup's receipts end in this server's store, as it is now."""
        found = chain.fresh(CHAIN_TIMEOUT_S)
        if found is None:
            return problems.problem(503, "The store does not say where the receipts end.")
        return JSONResponse({"soup": soup, **found.model_dump(mode="json")})

    @app.get("/v2/health/live")
    async def live() -> dict[str, bool]:
        return {"live": True}

    @app.get("/v2/health/ready")
    async def ready() -> JSONResponse:
        is_ready = models.serving() is not None
        return JSONResponse({"ready": is_ready}, 200 if is_ready else 503)

    @app.get("/", include_in_schema=False)
    async def human() -> HTMLResponse:
        return HTMLResponse(page, headers={"Content-Security-Policy": _PAGE_POLICY})

    _tell_failures(app)
    return app


def _answer(
    soup: str, seeds: tuple[int, ...], pictures: Pictures, head: ChainHead | None
) -> JSONResponse:
    granted = pictures.granted
    data = [
        {"b64_json": base64.b64encode(png).decode("ascii"), "seed": seed}
        for png, seed in zip(pictures.pngs, seeds, strict=True)
    ]
    body = {
        "created": int(time.time()),
        "data": data,
        "output_format": "png",
        "seed": seeds[0],
        "revision": _revision(soup, granted),
    }
    headers = {
        "X-Stockpot-Revision": str(granted.number),
        "X-Stockpot-Weights-Digest": granted.revision.weights_digest,
    }
    if head is not None:
        headers["X-Stockpot-Chain-Head"] = str(head)
    return JSONResponse(body, headers=headers)


def _model(soup: str, serving: Granted) -> dict[str, object]:
    revision = _revision(soup, serving)
    return {"id": soup, "object": "model", "owned_by": "stockpot", "revision": revision}


def _revision(soup: str, granted: Granted) -> dict[str, object]:
    return {
        "soup": soup,
        "number": granted.number,
        "recipe_digest": granted.revision.recipe_digest,
        "weights_digest": granted.revision.weights_digest,
    }


def _tell_failures(app: FastAPI) -> None:
    @app.exception_handler(StockpotError)
    async def failed(_: Request, error: StockpotError) -> Response:
        return problems.of_error(error)

    @app.exception_handler(RequestValidationError)
    async def misunderstood(_: Request, error: RequestValidationError) -> Response:
        return problems.of_validation(error)

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> Response:
        return problems.problem(error.status_code, str(error.detail))

    @app.exception_handler(Exception)
    async def broken(_: Request, __: Exception) -> Response:
        return problems.ours()


class _Bounded:
    """Refuses bodies that are longer than any request can be, before they are read to the end."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body, more = b"", scope["method"] in {"POST", "PUT", "PATCH"}
        while more and len(body) <= MAX_BODY_BYTES:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if len(body) > MAX_BODY_BYTES:
            text = f"The body is longer than {MAX_BODY_BYTES} bytes."
            await problems.problem(413, text)(scope, receive, send)
            return
        whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def read() -> Message:
            return whole.pop() if whole else await receive()

        await self._app(scope, read, send)


class _Measured:
    """Counts requests for pictures by the code of their answer, and how long they took."""

    def __init__(self, app: ASGIApp, meters: Meters) -> None:
        self._app = app
        self._meters = meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != IMAGES:
            await self._app(scope, receive, send)
            return
        began_s, code = time.monotonic(), 500

        async def noted(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            self._meters.requests.labels(code=str(code)).inc()
            self._meters.request_s.observe(time.monotonic() - began_s)
