"""Pictures of the demo: asked of the server, or drawn here from a revision's stored weights."""

import base64
import hashlib
import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import urllib3
from numpy.typing import NDArray
from PIL import Image
from report import Chapter
from venue import Venue

from stockpot.api.v1alpha1 import SoupRevision
from stockpot.evaluation.grid import labelled_grid

PROMPTS = (
    "red apple",
    "red heart",
    "grinning face",
    "hamburger",
    "cat face",
    "crescent moon",
    "bicycle",
    "automobile",
)
SEED = 7
RECOMPUTE = Path(__file__).parent / "recompute.py"


class Sampler:
    """Draws the same prompts from the same noise, whatever is served."""

    def __init__(self, venue: Venue, prompts: Sequence[str]) -> None:
        self._venue, self._prompts = venue, prompts
        self._http = urllib3.PoolManager(retries=False)

    def served(self) -> list[NDArray[np.uint8]]:
        """Ask the server."""
        pictures = []
        for prompt in self._prompts:
            answer = self._http.request(
                "POST",
                f"{self._venue.endpoint()}/v1/images/generations",
                json={"prompt": prompt, "seed": SEED, "response_format": "b64_json"},
                timeout=60.0,
            )
            pictures.append(pixels(base64.b64decode(answer.json()["data"][0]["b64_json"])))
        return pictures

    def of(self, revision: SoupRevision) -> list[NDArray[np.uint8]]:
        """Draw from stored weights."""
        with tempfile.TemporaryDirectory() as folder:
            self._draw(revision, [(prompt, SEED) for prompt in self._prompts], Path(folder))
            return [
                pixels((Path(folder) / f"{n}.png").read_bytes()) for n in range(len(self._prompts))
            ]

    def recompute(self, revision: SoupRevision, requests: Sequence[tuple[str, int]]) -> list[str]:
        """Draw from stored weights what the server was asked for.

        Returns:
            The SHA-256 of each PNG.
        """
        if not requests:
            return []
        with tempfile.TemporaryDirectory() as folder:
            self._draw(revision, requests, Path(folder))
            return [
                hashlib.sha256((Path(folder) / f"{n}.png").read_bytes()).hexdigest()
                for n in range(len(requests))
            ]

    def _draw(
        self, revision: SoupRevision, requests: Sequence[tuple[str, int]], folder: Path
    ) -> None:
        order = {
            "store": self._venue.store().model_dump(mode="json"),
            "namespace": self._venue.namespace,
            "base": str(self._venue.base),
            "soup": revision.spec.soup_ref.uid,
            "recipe": revision.spec.recipe_digest,
            "weights": revision.spec.weights_digest,
            "lineage": [[part.shard.uid, part.training_key] for part in revision.spec.parts],
            "asked": list(requests),
        }
        # In a process of its own: the demo itself needs no torch.
        done = subprocess.run(
            [sys.executable, str(RECOMPUTE), str(folder)],
            input=json.dumps(order).encode(),
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            sys.exit(f"the pictures could not be drawn again:\n{done.stderr.decode()}")


def pixels(png: bytes) -> NDArray[np.uint8]:
    """Decode a PNG to (H, W, 3)."""
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def saturation(picture: NDArray[np.uint8]) -> float:
    """The mean HSV saturation, in [0, 1]: what the evaluator `style` measures, without torch."""
    return float(np.asarray(Image.fromarray(picture).convert("HSV"))[..., 1].mean() / 255)


def draw_sheet(chapters: Sequence[Chapter], prompts: Sequence[str], path: Path) -> Path:
    """Lay the chapters' pictures side by side."""
    rows = {chapter.name: chapter.pictures for chapter in chapters}
    labelled_grid(rows, prompts, scale=3).save(path)
    return path
