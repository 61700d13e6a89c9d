"""Draw pictures from a revision's weights as they lie in the store, with the server's own code."""

import json
import sys
import tempfile
from pathlib import Path

import torch

from stockpot.api.manifest import LineagePair
from stockpot.api.runspec import BaseRef, Location, Place, RevisionRef, StoreRef
from stockpot.diffusion.families.registry import open_family
from stockpot.serving.renderer import Renderer
from stockpot.serving.requests import GenerationRequest
from stockpot.store.base import open_base
from stockpot.store.keys import Keys
from stockpot.store.open import open_store


def main(into: Path) -> None:
    """Read the order from standard input; write `0.png`, `1.png` and so on."""
    torch.set_num_threads(1)
    order = json.load(sys.stdin)
    store, keys = (
        open_store(StoreRef.model_validate(order["store"]), order["namespace"]),
        Keys(order["namespace"]),
    )
    with tempfile.TemporaryDirectory() as work:
        location = Location(place=Place.FOLDER, path=order["base"])
        base = open_base(BaseRef(location=location), store, Path(work))
        renderer = Renderer(store, keys, order["soup"], open_family(base.folder), 32)
        revision = RevisionRef(
            recipe_digest=order["recipe"],
            weights_digest=order["weights"],
            lineage=tuple(LineagePair(shard=s, training_key=k) for s, k in order["lineage"]),
        )
        denoiser = renderer.load(revision, Path(work) / "weights")
        for number, (prompt, seed) in enumerate(order["asked"]):
            request = GenerationRequest(prompt, "", (seed,), steps=20, guidance=3.0)
            (into / f"{number}.png").write_bytes(
                renderer.draw(denoiser, request, seed, lambda: None)
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
