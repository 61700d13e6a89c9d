"""The inputs of `smoke.sh`: a RunSpec for each verb by name, and a grant for the server.

These are all the inputs that an operator gives its workloads.
"""

import base64
import json
import os
import sys
import time
import urllib.error
import urllib.request
from fractions import Fraction
from pathlib import Path

from stockpot.api.manifest import LineagePair
from stockpot.api.results import ResultMessage
from stockpot.api.runspec import (
    BaseRef,
    EvaluateRun,
    Location,
    MergeRun,
    ObjectRef,
    Place,
    RecipePart,
    RevisionRef,
    RunSpec,
    ServeRun,
    StoreRef,
    TrainRun,
)
from stockpot.api.serving import Grant, ServerState
from stockpot.api.training import Named, Training, WeightsDtype
from stockpot.core.digests import Digest, digest_of_json
from stockpot.core.recipe import Ingredient, Recipe, ShardUID, recipe_of

WORK = Path(os.environ["WORK"])
DATA = Path(os.environ["DATA"]).absolute()
SHARDS = os.environ["SHARDS"].split()
RESOLUTION = int(os.environ["RESOLUTION"])

STORE = StoreRef(url=(WORK / "store").absolute().as_uri())
SOUP = ObjectRef(namespace="smoke", name="smoke", uid="soup-1")
BASE = BaseRef(location=Location(place=Place.FOLDER, path=str(Path(os.environ["BASE"]).absolute())))
TRAINING = Training(
    max_train_steps=4, train_batch_size=4, resolution=RESOLUTION, checkpointing_steps=4
)


def main(name: str) -> None:
    """Print a RunSpec, or grant the merged revision to the server and draw a picture."""
    if name == "grant":
        grant()
        return
    spec: RunSpec
    match name.partition("-"):
        case "train", _, shard:
            spec = TrainRun(
                name=name,
                store=STORE,
                soup=SOUP,
                shard=ObjectRef(namespace="smoke", name=shard, uid=f"uid-{shard}"),
                request=digest_of_json("smoke/1", shard),
                base=BASE,
                source=folder(shard),
                training=TRAINING,
            )
        case "merge", _, _:
            recipe = uniform_recipe()
            parts = tuple(
                RecipePart(
                    shard_uid=part.ingredient.shard,
                    training_key=part.ingredient.key,
                    weights_digest=part.weights,
                    weight=part.weight,
                )
                for part in recipe.parts
            )
            spec = MergeRun(
                name=name,
                store=STORE,
                soup=SOUP,
                recipe_digest=recipe.digest,
                parts=parts,
                output=WeightsDtype.FP16,
                base=BASE,
            )
        case "evaluate", _, _:
            spec = EvaluateRun(
                name=name,
                store=STORE,
                soup=SOUP,
                revision=revision(),
                base=BASE,
                held_out=folder(SHARDS[0]),
                suite=(Named(name="heldout_loss"),),
                resolution=RESOLUTION,
            )
        case "serve", _, _:
            spec = ServeRun(
                name=name,
                store=STORE,
                soup=SOUP,
                base=BASE,
                port=0,
                admin_port=0,
                resolution=RESOLUTION,
            )
        case _:
            sys.exit(f"no spec is called {name}")
    sys.stdout.write(spec.model_dump_json())


def folder(shard: str) -> Location:
    """Return the location of a shard's data."""
    return Location(place=Place.FOLDER, path=str(DATA / shard))


def result(name: str) -> ResultMessage:
    """Read the result of a run."""
    return ResultMessage.model_validate_json((WORK / f"{name}.result.json").read_bytes())


def uniform_recipe() -> Recipe:
    """Return the recipe of all trained shards with equal weights."""
    weighted = []
    for shard in SHARDS:
        trained = result(f"train-{shard}")
        assert trained.training_key
        assert trained.weights_digest
        ingredient = Ingredient(ShardUID(f"uid-{shard}"), Digest(trained.training_key))
        weighted.append((ingredient, Digest(trained.weights_digest), Fraction(1)))
    return recipe_of(weighted, "fp16")


def revision() -> RevisionRef:
    """Return the reference of the merged revision."""
    recipe, merged = uniform_recipe(), result("merge")
    assert merged.weights_digest
    return RevisionRef(
        recipe_digest=recipe.digest,
        weights_digest=merged.weights_digest,
        lineage=tuple(
            LineagePair(shard=part.ingredient.shard, training_key=part.ingredient.key)
            for part in recipe.parts
        ),
    )


def grant() -> None:
    """Let the server load the soup, commit it, and draw one picture with it."""
    endpoint = json.loads(wait_for(WORK / "serve" / "endpoint.json"))
    public, admin = endpoint["url"], endpoint["adminUrl"]
    state = ServerState.model_validate_json(ask(f"{admin}/state"))
    word = Grant(instance_id=state.instance_id, epoch=1, number=1, revision=revision())
    ask(f"{admin}/weights:prepare", word.model_dump_json())
    for _ in range(600):
        state = ServerState.model_validate_json(ask(f"{admin}/state"))
        if state.prepared or state.problem:
            break
        time.sleep(0.1)
    assert state.prepared, state.problem
    ask(f"{admin}/weights:commit", word.model_dump_json())
    order = {"prompt": "red apple", "n": 1}
    answer = json.loads(ask(f"{public}/v1/images/generations", json.dumps(order)))
    picture = base64.b64decode(answer["data"][0]["b64_json"])
    assert picture.startswith(b"\x89PNG")
    sys.stdout.write(f"{'serve':<16} drew {len(picture)} bytes of PNG with {answer['revision']}\n")


def wait_for(path: Path) -> str:
    """Wait for a file, and return its text."""
    for _ in range(1200):
        if path.is_file():
            return path.read_text()
        time.sleep(0.1)
    sys.exit(f"{path} did not appear")


def ask(url: str, body: str | None = None) -> bytes:
    """Send an HTTP request to this machine, and return the body."""
    request = urllib.request.Request(  # noqa: S310
        url, body.encode() if body else None, {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            content: bytes = answer.read()
            return content
    except urllib.error.HTTPError as error:
        sys.exit(f"{url}: {error.code} {error.read().decode()}")


if __name__ == "__main__":
    main(sys.argv[1])
