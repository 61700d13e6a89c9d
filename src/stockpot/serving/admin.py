"""The admin port, for the operator and the kubelet: grants, state, probes.

`stockpot.api.serving` describes the protocol. The port has its own thread, so that its probes
answer while the worker draws. Who sent a grant is verified here, before the state machine sees it.
"""

from collections.abc import Callable
from typing import Annotated

import structlog
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response

from stockpot.api.model import Model
from stockpot.api.serving import Grant, ServerState
from stockpot.authentication.signatures import (
    HEADER,
    GrantKind,
    GrantNotAuthentic,
    GrantVerifier,
)
from stockpot.serving.chain_head import ChainHeadCache
from stockpot.serving.grants import GrantRefused
from stockpot.serving.metrics import CONTENT_TYPE, ServerMetrics
from stockpot.serving.models import Models

log = structlog.get_logger()

Nonce = Annotated[str, Query(max_length=64, pattern="^[0-9a-f]*$")]


def admin_app(
    *,
    models: Models,
    verifier: GrantVerifier,
    metrics: ServerMetrics,
    chain: ChainHeadCache,
    is_ending: Callable[[], bool],
) -> FastAPI:
    """Build the ASGI application of the admin port.

    Args:
        models: Takes grants and reports what is held.
        verifier: Verifies that the operator sent a grant.
        metrics: What `/metrics` shows.
        chain: The head of the chain of receipts.
        is_ending: Whether the server is shutting down: then it is not ready.
    """
    app = FastAPI(title="Stockpot admin", docs_url=None, redoc_url=None)

    def current_state(nonce: str = "") -> ServerState:
        state = models.state()
        ready = state.ready and not is_ending()
        head = {"chain": chain.last_head(), "chain_age_s": chain.age_s()}
        return state.model_copy(update={"ready": ready, "nonce": nonce, **head})

    @app.get("/state")
    def state(nonce: Nonce = "") -> Response:
        return _json(current_state(nonce))

    @app.post("/weights:prepare")
    def prepare(grant: Grant, request: Request) -> Response:
        verifier.require_authentic(grant, GrantKind.PREPARE, request.headers.get(HEADER))
        models.prepare(grant)
        return _json(current_state(), 202)

    @app.post("/weights:commit")
    def commit(grant: Grant, request: Request) -> Response:
        verifier.require_authentic(grant, GrantKind.COMMIT, request.headers.get(HEADER))
        models.commit(grant)
        return _json(current_state())

    @app.get("/livez")
    async def live() -> dict[str, bool]:
        return {"live": True}

    @app.get("/readyz")
    def ready() -> Response:
        state = current_state()
        return _json(state, 200 if state.ready else 503)

    @app.get("/metrics", name="metrics")
    def prometheus_metrics() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    _answer_refusals(app, metrics)
    return app


def _answer_refusals(app: FastAPI, metrics: ServerMetrics) -> None:
    """Answer grants that are not the operator's, not valid now, or no grants at all."""

    @app.exception_handler(GrantNotAuthentic)
    async def not_authentic(request: Request, error: GrantNotAuthentic) -> Response:
        metrics.unauthentic_grants.inc()
        client = request.client.host if request.client else ""
        log.warning("Refused a grant", problem=error.message, client=client)
        return JSONResponse({"message": error.message, "help": error.help}, 403)

    @app.exception_handler(GrantRefused)
    async def refused(_: Request, error: GrantRefused) -> Response:
        return JSONResponse({"message": error.message, "help": error.help}, 409)

    @app.exception_handler(RequestValidationError)
    async def invalid_grant(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return JSONResponse(
            {"message": f"{where}: {first['msg']}", "help": "see stockpot.api.serving"}, 400
        )


def _json(model: Model, status: int = 200) -> Response:
    return Response(model.model_dump_json(), status, media_type="application/json")
