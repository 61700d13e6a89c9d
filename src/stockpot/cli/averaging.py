"""Recomputes the mean of ingredients for `stockpot verify`.

The arithmetic is that of a merge. The ingredients are read from the store, and the digest of each
is checked over all its bytes.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from stockpot.api.manifest import RecipePart
from stockpot.api.runspec import BaseRef, Location, MergeRun, ObjectRef, Place, StoreRef
from stockpot.api.training import WeightsDtype
from stockpot.core.digests import Digest
from stockpot.core.recipe import Recipe
from stockpot.errors import Refused
from stockpot.merging.formats import OUTPUTS
from stockpot.merging.ingredients import open_ingredient
from stockpot.merging.interfaces import MergeSettings
from stockpot.merging.kernel import installed
from stockpot.merging.lora_ingredients import has_lora, make_folded
from stockpot.merging.recipes import MergeContext, merge
from stockpot.merging.run import run
from stockpot.merging.targets import null_target
from stockpot.metrics.progress import Progress
from stockpot.process.cpu_limit import cores
from stockpot.store.base import OpenBase, open_base
from stockpot.store.keys import SUMS, Keys
from stockpot.store.port import ObjectStore
from stockpot.unlearning.verify.composition import CannotAverageError

VERIFIER = ObjectRef(namespace="verify", name="verify", uid="verify")


@dataclass(frozen=True)
class Averaging:
    """Computes means from ingredients in a store, in a temporary folder."""

    store: ObjectStore
    keys: Keys
    base: str | None
    """A folder, or a prefix of the store. None: means of no ingredients cannot be computed."""

    def __call__(self, parts: Sequence[RecipePart], output: WeightsDtype, base: Digest) -> Digest:
        """Return the digest of the mean.

        Raises:
            Refused: An ingredient has another digest than its part names.
            CannotAverageError: The base is needed, and none or another one was given.
        """
        with TemporaryDirectory(prefix="stockpot-") as scratch:
            if not parts:
                return self._base_alone(base, output, Path(scratch))
            settings, stop = MergeSettings(cores(), installed()), threading.Event()
            # Only the digest is of interest.
            sums = Path(scratch) / SUMS
            context = MergeContext(null_target, sums, OUTPUTS[output], settings, Progress(), stop)
            if has_lora(self.store, self.keys, parts):
                opened_base = self._open_base(
                    base, Path(scratch), "it has LoRAs, which are folded into the base {}"
                )
                made = make_folded(self.store, self.keys, parts, base, opened_base.folder, context)
                return made.weights.digest
            opened = [open_ingredient(self.store, self.keys, part, base) for part in parts]
            return merge(opened, context).digest

    def _open_base(self, digest: Digest, scratch: Path, what: str) -> OpenBase:
        """Fetch and admit the base."""
        if self.base is None:
            raise CannotAverageError(
                f"{what.format(digest)}, which is not at hand: give it with --base"
            )
        place = Place.FOLDER if Path(self.base).is_dir() else Place.STORE
        path = str(Path(self.base).resolve()) if place is Place.FOLDER else self.base
        try:
            return open_base(
                BaseRef(location=Location(place=place, path=path), digest=digest),
                self.store,
                scratch / "base",
            )
        except Refused as error:  # --base names the wrong folder; receipts do not name it.
            raise CannotAverageError(error.message) from error

    def _base_alone(self, digest: Digest, output: WeightsDtype, scratch: Path) -> Digest:
        """Convert the base in a temporary store: nothing is written into the one that is read."""
        opened = self._open_base(digest, scratch, "it is the base {} alone")
        folder = self.base if Path(self.base or "").is_dir() else opened.folder
        location = Location(place=Place.FOLDER, path=str(Path(str(folder)).resolve()))
        try:
            spec = MergeRun(
                name="verify",
                store=StoreRef(url=(scratch / "store").as_uri()),
                soup=VERIFIER,
                recipe_digest=Recipe((), output.value).digest,
                parts=(),
                output=output,
                base=BaseRef(location=location, digest=digest),
            )
            made = run(spec, work=scratch / "work", progress=Progress(), stop=threading.Event())
        except Refused as error:  # --base names the wrong folder; receipts do not name it.
            raise CannotAverageError(error.message) from error
        return Digest(str(made.weights_digest))
