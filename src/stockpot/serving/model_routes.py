"""The routes `/v1/models`: a server's one model, by the soup's name, alone or with its weights."""

from fastapi import APIRouter

from stockpot.api.serving import Granted
from stockpot.serving.grants import NoRevisionServed
from stockpot.serving.models import Models
from stockpot.serving.requests import BadParameter, UnknownModel, pinned_weights, quoted

MODELS = "/v1/models"


def model_routes(soup: str, models: Models) -> APIRouter:
    """Build the routes that describe the served model as OpenAI's API does."""
    router = APIRouter()

    @router.get(MODELS)
    async def list_models() -> dict[str, object]:
        serving = models.serving()
        listed = [_describe(soup, soup, serving, models.serving_since_s)] if serving else []
        return {"object": "list", "data": listed}

    # A name may contain slashes: clients escape them, and ASGI servers unescape them.
    @router.get(f"{MODELS}/{{model:path}}")
    async def retrieve_model(model: str) -> dict[str, object]:
        try:
            digest = pinned_weights(model, soup)
        except BadParameter as error:
            raise UnknownModel(f"There is no model {quoted(model)} here.") from error
        serving = models.serving()
        if serving is None:
            raise NoRevisionServed(
                "This server serves no revision yet.", help="ask again in a moment"
            )
        if digest not in {None, serving.revision.weights_digest}:
            raise UnknownModel(f"The weights {digest} are not served now.")
        return _describe(model, soup, serving, models.serving_since_s)

    return router


def describe_revision(soup: str, granted: Granted) -> dict[str, object]:
    """Describe a revision in a response."""
    return {
        "soup": soup,
        "number": granted.number,
        "recipe_digest": granted.revision.recipe_digest,
        "weights_digest": granted.revision.weights_digest,
    }


def _describe(name: str, soup: str, serving: Granted, since_s: int) -> dict[str, object]:
    return {
        "id": name,
        "object": "model",
        "created": since_s,
        "owned_by": "stockpot",
        "revision": describe_revision(soup, serving),
    }
