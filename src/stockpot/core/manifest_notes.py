"""Lint of several manifests together, before they are applied: mistakes, and notes.

Only the given objects are checked. Others may be on the cluster already, so most findings are
notes.
"""

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from datetime import datetime
from fractions import Fraction

from stockpot.api.complaints import Complaint, nearest
from stockpot.api.reading import ParsedManifest
from stockpot.api.source import Source
from stockpot.api.v1alpha1 import DataShard, Inclusion, Soup
from stockpot.core.recipe import MAX_WEIGHT, whole_weights

SoupName = tuple[str, str]
"""Namespace and name."""


def crosscheck(manifests: Sequence[ParsedManifest]) -> Iterator[Complaint]:
    """Find what cannot work together in objects that are each valid."""
    for (_, name), shards in _by_soup(manifests).items():
        soup = _soup_of(shards[0], manifests)
        if soup is not None and _soup(soup).spec.merge.weighting.name != "Declared":
            continue
        weights = [Fraction(_shard(manifest).spec.weight) for manifest in shards]
        if max(whole_weights(weights), default=0) > MAX_WEIGHT:
            finest = max(shards, key=lambda manifest: len(_shard(manifest).spec.weight))
            shard = _shard(finest)
            yield Complaint(
                f"spec.weight of DataShard {shard.metadata.name} is {shard.spec.weight}: beside "
                f"the other weights of Soup {name} it has too many digits",
                ("spec", "weight"),
                place=finest.place("spec", "weight"),
                help=f"use fewer digits: as whole numbers, weights may be at most {MAX_WEIGHT}",
            )


def notes(
    manifests: Sequence[ParsedManifest], now: datetime, stored: Container[SoupName] = ()
) -> Iterator[Complaint]:
    """Find what is valid but seldom intended.

    Args:
        manifests: The objects that are given.
        now: The time.
        stored: Soups that are known to exist, by namespace and name.
    """
    yield from _missing_soups(manifests, stored)
    for (_, name), shards in _by_soup(manifests).items():
        soup = _soup_of(shards[0], manifests)
        yield from _shared_data(shards, soup)
        yield from _unserved(name, shards, soup)
    for manifest in manifests:
        if isinstance(manifest.object, DataShard):
            yield from _of_shard(manifest, now)
        else:
            yield from _of_soup(manifest)


def _missing_soups(
    manifests: Sequence[ParsedManifest], stored: Container[SoupName]
) -> Iterator[Complaint]:
    for (namespace, name), shards in _by_soup(manifests).items():
        is_stored = (namespace, name) in stored
        if is_stored or _soup_of(shards[0], manifests) is not None:
            continue
        known = [
            manifest.object.metadata.name
            for manifest in manifests
            if isinstance(manifest.object, Soup) and manifest.object.metadata.namespace == namespace
        ]
        near = nearest(name, known)
        more = f" and {len(shards) - 1} more name" if len(shards) > 1 else " names"
        yield Complaint(
            f"DataShard {shards[0].object.metadata.name}{more} the Soup {name}, which is not in "
            "these files",
            place=shards[0].place("spec", "soupRef", "name"),
            help=f"did you mean {near}?"
            if near
            else "the shard waits until there is a Soup of that name",
        )


def _shared_data(
    shards: Sequence[ParsedManifest], soup: ParsedManifest | None
) -> Iterator[Complaint]:
    """Find data that is in two shards, or in a shard and in the held-out records."""
    by_folder = {_folder(_shard(manifest).spec.source): manifest for manifest in reversed(shards)}
    for manifest in shards:
        shard = _shard(manifest)
        root, parts = _folder(shard.spec.source)
        above = [(root, parts[:length]) for length in range(len(parts) + 1)]
        for other in (_shard(by_folder[folder]) for folder in above if folder in by_folder):
            if other is not shard:
                yield Complaint(
                    f"the data of DataShard {shard.metadata.name} "
                    f"{_overlap(shard.spec.source, other.spec.source)} that of DataShard "
                    f"{other.metadata.name}",
                    place=manifest.place("spec", "source"),
                    help="data that is in two shards stays in the soup when one of them is deleted",
                )
    source = _soup(soup).spec.evaluation.source if soup else None
    for manifest in shards if source else ():
        assert source is not None
        shard = _shard(manifest)
        if how := _overlap(shard.spec.source, source):
            yield Complaint(
                f"the data of DataShard {shard.metadata.name} {how} spec.evaluation.source of Soup "
                f"{shard.spec.soup_ref.name}",
                place=manifest.place("spec", "source"),
                help="keep held-out records out of every shard: figures would measure memorization",
            )


def _unserved(
    name: str, shards: Sequence[ParsedManifest], soup: ParsedManifest | None
) -> Iterator[Complaint]:
    """Find soups that serve the base though they have shards."""
    included = [
        manifest for manifest in shards if _shard(manifest).spec.inclusion is Inclusion.INCLUDED
    ]
    if included and not any(Fraction(_shard(manifest).spec.weight) for manifest in included):
        yield Complaint(
            f"every DataShard of Soup {name} in these files weighs 0",
            place=included[0].place("spec", "weight"),
            help="the base is served, as if there were no shards",
        )
    if soup is None:
        return
    least = _soup(soup).spec.membership.min_shards
    if least > len(included):
        yield Complaint(
            f"spec.membership.minShards of Soup {name} is {least}, and these files have "
            f"{len(included)} of its shards",
            place=soup.place("spec", "membership", "minShards"),
            help="the base is served until there are that many shards",
        )


def _of_shard(manifest: ParsedManifest, now: datetime) -> Iterator[Complaint]:
    shard = _shard(manifest)
    name, spec = shard.metadata.name, shard.spec
    if repeated := _repeated(spec.exclude_records):
        yield Complaint(
            f"spec.excludeRecords of DataShard {name} names {repeated[0]} twice",
            place=manifest.place("spec", "excludeRecords"),
            help="remove one of the two",
        )
    if spec.expire_at and datetime.fromisoformat(spec.expire_at) <= now:
        yield Complaint(
            f"spec.expireAt of DataShard {name} is {spec.expire_at}, which is in the past",
            place=manifest.place("spec", "expireAt"),
            help="the shard is unlearned as soon as it is applied",
        )


def _of_soup(manifest: ParsedManifest) -> Iterator[Complaint]:
    training = _soup(manifest).spec.training
    is_said = "checkpointing_steps" in training.model_fields_set
    if is_said and training.checkpointing_steps >= training.max_train_steps:
        yield Complaint(
            f"spec.training.checkpointingSteps is {training.checkpointing_steps}, and there are "
            f"{training.max_train_steps} steps",
            place=manifest.place("spec", "training", "checkpointingSteps"),
            help="an interrupted training starts again from its first step",
        )


def _overlap(source: Source, other: Source) -> str:
    """Return how the folders of two sources overlap, as a verb; empty where they do not."""
    (root, parts), (other_root, other_parts) = _folder(source), _folder(other)
    if root != other_root:
        return ""
    if parts == other_parts:
        return "is the same as"
    if parts == other_parts[: len(parts)]:
        return "contains"
    return "is within" if other_parts == parts[: len(other_parts)] else ""


def _folder(source: Source) -> tuple[str, tuple[str, ...]]:
    path = source.s3.prefix if source.s3 else source.pvc.path if source.pvc else ""
    root = f"claim {source.pvc.claim_name}" if source.pvc else "store"
    return root, tuple(part for part in path.split("/") if part)


def _repeated(names: Iterable[str]) -> list[str]:
    known: set[str] = set()
    repeated: list[str] = []
    for name in names:
        (repeated.append if name in known else known.add)(name)
    return repeated


def _by_soup(manifests: Iterable[ParsedManifest]) -> dict[SoupName, list[ParsedManifest]]:
    shards: dict[SoupName, list[ParsedManifest]] = defaultdict(list)
    for manifest in manifests:
        if isinstance(shard := manifest.object, DataShard):
            shards[shard.metadata.namespace, shard.spec.soup_ref.name].append(manifest)
    return shards


def _soup_of(shard: ParsedManifest, manifests: Iterable[ParsedManifest]) -> ParsedManifest | None:
    wanted = (shard.object.metadata.namespace, _shard(shard).spec.soup_ref.name)
    for manifest in manifests:
        meta = manifest.object.metadata
        if isinstance(manifest.object, Soup) and (meta.namespace, meta.name) == wanted:
            return manifest
    return None


def _shard(manifest: ParsedManifest) -> DataShard:
    assert isinstance(manifest.object, DataShard)
    return manifest.object


def _soup(manifest: ParsedManifest) -> Soup:
    assert isinstance(manifest.object, Soup)
    return manifest.object
