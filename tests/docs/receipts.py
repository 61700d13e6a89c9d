"""A soup that learnt five shards and forgot three, by the real verbs that need no torch.

Its ingredients are random numbers; merges, purges and receipts are real.
"""

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.merging.ingredients import a_base_folder, file_bytes, key_of, some_tensors

from stockpot import __version__
from stockpot.api.manifest import ArtefactKind, LineagePair, Manifest
from stockpot.api.runspec import (
    BaseRef,
    Location,
    MergeRun,
    ObjectRef,
    Place,
    PurgeRun,
    ReceiptRequest,
    RecipePart,
    RevisionRef,
    SignRun,
    StoreRef,
)
from stockpot.api.server_reports import HeldReport
from stockpot.api.training import WeightsDtype
from stockpot.core import recipe
from stockpot.core.digests import Digest, digest_of_bytes
from stockpot.merging import run as merging
from stockpot.metrics.progress import Progress
from stockpot.store.artefacts import begin, publish
from stockpot.store.base import open_base
from stockpot.store.keys import WEIGHTS, Keys
from stockpot.store.open import open_store
from stockpot.unlearning import purge, sign
from stockpot.unlearning.chain import check_chain
from stockpot.unlearning.clock import now
from stockpot.unlearning.keys import keygen, load_public_key

SHARDS = ("ants", "bees", "cats", "dogs", "eels")
FORGOTTEN = ("ants", "bees", "dogs")
SERVER = "emoji-6d9f8c7b5-x2k4p"


@dataclass(frozen=True)
class Receipts:
    """A soup of one namespace, in a folder."""

    folder: Path
    soup: ObjectRef

    @property
    def ref(self) -> StoreRef:
        return StoreRef(url=(self.folder / "store").as_uri())

    @property
    def keys(self) -> Keys:
        return Keys(self.soup.namespace)

    @property
    def key(self) -> Path:
        """The private key; its public half lies beside it."""
        return self.folder / "signing-key.pem"

    @property
    def public_key(self) -> Path:
        return self.folder / "signing-key.pem.pub"

    @property
    def base(self) -> BaseRef:
        return BaseRef(location=Location(place=Place.FOLDER, path=str(self.folder / "base")))

    def head(self) -> str:
        """The last entry of the chain, as `--head` takes it."""
        chain = check_chain(
            open_store(self.ref), self.keys, self.soup.uid, load_public_key(self.public_key)
        )
        return f"{len(chain)}:{chain[-1].digest}"

    def copy_to(self, ref: StoreRef) -> None:
        """Put all of the store into another one."""
        store, other = open_store(self.ref), open_store(ref)
        for info in store.list(""):
            other.put(info.key, store.get(info.key) or b"")

    def learn(self, name: str, seed: int) -> RecipePart:
        """Publish an ingredient as a training does."""
        data = file_bytes(some_tensors(seed))
        path = self.folder / f"{name}.safetensors"
        path.write_bytes(data)
        pair = LineagePair(shard=f"uid-{name}", training_key=key_of(name))
        store = open_store(self.ref)
        manifest = Manifest(
            kind=ArtefactKind.INGREDIENT,
            lineage=(pair,),
            base_digest=open_base(self.base, store, self.folder / "work").digest,
            digest=digest_of_bytes(data),
            size_bytes=len(data),
            made_by=f"stockpot {__version__}",
        )
        at = self.keys.ingredient(pair.shard, Digest(pair.training_key))
        begin(store, at, manifest)
        publish(store, at, {WEIGHTS: path}, manifest)
        return RecipePart(
            shard_uid=pair.shard,
            training_key=pair.training_key,
            weights_digest=digest_of_bytes(data),
            weight=1,
        )

    def merge_spec(self, parts: Iterable[RecipePart]) -> MergeRun:
        parts = tuple(parts)
        in_order = sorted(
            recipe.WeightedIngredient(
                recipe.Ingredient(recipe.ShardUID(part.shard_uid), Digest(part.training_key)),
                Digest(part.weights_digest),
                part.weight,
            )
            for part in parts
        )
        return MergeRun(
            name=f"merge-{len(parts)}",
            store=self.ref,
            soup=self.soup,
            recipe_digest=recipe.Recipe(tuple(in_order), "fp16").digest,
            parts=parts,
            output=WeightsDtype.FP16,
            base=self.base,
        )

    def merge(self, parts: Iterable[RecipePart]) -> RevisionRef:
        spec = self.merge_spec(parts)
        result = self._run(merging.run, spec)
        return RevisionRef(
            recipe_digest=spec.recipe_digest,
            weights_digest=result.weights_digest,
            lineage=tuple(
                LineagePair(shard=part.shard_uid, training_key=part.training_key)
                for part in spec.parts
            ),
        )

    def forget(self, name: str, successor: RevisionRef) -> None:
        """Purge a shard, and sign the receipt."""
        shard = ObjectRef(namespace=self.soup.namespace, name=name, uid=f"uid-{name}")
        requested_at = now()
        purging = PurgeRun(name=f"purge-{name}", store=self.ref, soup=self.soup, shard=shard)
        self._run(purge.run, purging)
        server = HeldReport(
            server=SERVER, instance_id="boot", epoch=2, holds=(successor.recipe_digest,)
        )
        signing = SignRun(
            name=f"sign-{name}",
            store=self.ref,
            soup=self.soup,
            receipts=(ReceiptRequest(shard=shard, requested_at=requested_at),),
            successor=successor,
            servers=(server,),
            signing_key=str(self.key),
        )
        self._run(sign.run, signing)

    def _run(self, verb: Any, spec: Any) -> Any:
        work = self.folder / "work" / spec.name
        work.mkdir(parents=True, exist_ok=True)
        return verb(spec, work=work, progress=Progress(), stop=threading.Event())


def some_receipts(folder: Path, soup: ObjectRef) -> Receipts:
    """Learn five shards, and forget three, one after the other."""
    made = Receipts(folder, soup)
    (folder / "store").mkdir(parents=True)
    a_base_folder(folder / "base", file_bytes(some_tensors(0)))
    keygen(made.key)
    parts = {name: made.learn(name, seed) for seed, name in enumerate(SHARDS, start=1)}
    made.merge(parts.values())
    for name in FORGOTTEN:
        del parts[name]
        made.forget(name, made.merge(parts.values()))
    return made
