"""The mean of ingredients, computed again by whoever checks a receipt: merging, for `verify`.

The arithmetic is the merge's own; the bytes are read from the store, and every ingredient is
looked at in full on the way.
"""

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from stockpot.api.manifest import RecipePart
from stockpot.api.runspec import BaseRef, Location, Place
from stockpot.api.training import WeightsDtype
from stockpot.core.digests import PREFIX, Digest
from stockpot.errors import Refused
from stockpot.merging.formats import OUTPUTS
from stockpot.merging.parts import Part, open_part
from stockpot.merging.run import merge
from stockpot.metrics.progress import Progress
from stockpot.store.base import open_base
from stockpot.store.keys import WEIGHTS, Keys
from stockpot.store.port import ObjectStore
from stockpot.store.ranges import opened
from stockpot.store.weights import canonicalise
from stockpot.unlearning.verify.composition import CannotAverageError


@dataclass(frozen=True)
class Averaging:
    """Computes means from what lies in a store, in a scratch folder that goes again."""

    store: ObjectStore
    keys: Keys
    base: str | None
    """A folder, or a prefix of the store; none: means of no parts cannot be computed."""

    def __call__(self, parts: Sequence[RecipePart], output: WeightsDtype, base: Digest) -> Digest:
        """The digest of the mean.

        Raises:
            Refused: An ingredient is not the one that was named.
            CannotAverageError: The base is needed, and another or none was given.
        """
        with TemporaryDirectory(prefix="stockpot-") as scratch:
            soup = Path(scratch) / WEIGHTS
            if parts:
                merged = [open_part(self.store, self.keys, part, base) for part in parts]
                merge(merged, soup, OUTPUTS[output], Progress(), threading.Event())
            else:
                self._copy_base(base, output, soup)
            with soup.open("rb") as file:
                return Digest(PREFIX + hashlib.file_digest(file, "sha256").hexdigest())

    def _copy_base(self, digest: Digest, output: WeightsDtype, soup: Path) -> None:
        if self.base is None:
            raise CannotAverageError(
                f"it is the base {digest} alone, which is not at hand: give it with --base"
            )
        place = Place.FOLDER if Path(self.base).is_dir() else Place.STORE
        path = str(Path(self.base).resolve()) if place is Place.FOLDER else self.base
        ref = BaseRef(location=Location(place=place, path=path), digest=digest)
        try:
            found = open_base(ref, self.store, soup.parent)
        except Refused as error:  # The wrong folder was named here; no receipt says which one.
            raise CannotAverageError(error.message) from error
        canonical = soup.with_name("base.safetensors")
        canonicalise(found.unet_weights, canonical)
        with opened(canonical) as source:
            merge([Part(source, 1, None)], soup, OUTPUTS[output], Progress(), threading.Event())
