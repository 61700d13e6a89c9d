"""The folders that manifests name: claims, data, bases. What a training would find after a while.

Objects that are stored already are not looked at again: an unlearning waits for no folder.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stockpot.api.complaints import Complaint, nearest
from stockpot.api.metadata import foreign_finalizers
from stockpot.api.reading import ParsedManifest
from stockpot.api.rules import broken_rules
from stockpot.api.runspec import Place
from stockpot.api.soups import half_precision_complaint, resolution_complaint
from stockpot.api.source import Source
from stockpot.api.training import MixedPrecision
from stockpot.api.v1alpha1 import DataShard, Soup, UnlearningReceipt
from stockpot.errors import ExitCode, Refused, StockpotError
from stockpot.local.environment import FolderEnvironment
from stockpot.local.machine import Fault, lacks_gpu
from stockpot.local.objects import ObjectFolder
from stockpot.store.base import pixels_per_latent, require_base


@dataclass(frozen=True)
class SourceCheck:
    """What is to be applied, and where its folders are."""

    manifests: tuple[ParsedManifest, ...]
    objects: ObjectFolder
    surroundings: FolderEnvironment
    claims: Mapping[str, Path]
    """Those that are told now."""

    def faults(self) -> Iterator[Fault]:
        """Find everything that would go wrong."""
        for name, folder in self.claims.items():
            if why := unreadable(folder):
                yield Fault(Complaint(why, place=f"--claim {name}={folder}"), ExitCode.INVALID)
        for manifest in self.manifests:
            yield from self._of_object(manifest)

    def notes(self) -> Iterator[Complaint]:
        """Find what is not used as it stands, and does no harm."""
        named = {source.pvc.claim_name for source in self._sources() if source.pvc}
        for name in sorted(self.claims.keys() - named):
            yield Complaint(
                f"no object names the claim {name}",
                place="--claim",
                help=f"claims that are named: {', '.join(sorted(named)) or 'none'}",
            )
        for manifest in self.manifests:
            yield from _not_in_local_mode(manifest)

    def _sources(self) -> Iterator[Source]:
        things = [manifest.object for manifest in self.manifests]
        for namespace in self.objects.namespaces():
            things += self.objects.list(Soup, namespace)
            things += self.objects.list(DataShard, namespace)
        for thing in things:
            yield from sources_of(thing)

    def _of_object(self, manifest: ParsedManifest) -> Iterator[Fault]:
        thing = manifest.object
        try:
            self.objects.refuse(thing)
        except StockpotError as error:
            complaint = Complaint(error.message, place=manifest.place("spec"), help=error.help)
            yield Fault(complaint, error.exit_code)
            return
        if isinstance(thing, DataShard):
            yield from self._of_shard(manifest, thing)
        else:
            yield from self._of_soup(manifest, thing)

    def _of_shard(self, manifest: ParsedManifest, shard: DataShard) -> Iterator[Fault]:
        stored = self.objects.find(shard)
        is_known = stored is not None and stored.spec == shard.spec
        if not (is_known and stored.status.ingredient):  # What is trained needs no data.
            yield from self._of_source(manifest, shard.spec.source, "source", ExitCode.BAD_DATA)
        wanted = shard.spec.relearn
        if wanted and not is_known:
            receipts = self.objects.list(UnlearningReceipt, shard.metadata.namespace)
            known = [receipt.metadata.name for receipt in receipts]
            if wanted not in known:
                near = nearest(wanted, known)
                why = Complaint(
                    f"there is no UnlearningReceipt {wanted}",
                    help=f"did you mean {near}?" if near else "see `stockpot local get receipts`",
                )
                yield from _at(manifest, why, ("spec", "relearn"), ExitCode.INVALID)

    def _of_soup(self, manifest: ParsedManifest, soup: Soup) -> Iterator[Fault]:
        spec = soup.spec
        if spec.evaluation.source:
            field = "evaluation.source"
            yield from self._of_source(manifest, spec.evaluation.source, field, ExitCode.BAD_DATA)
        if spec.training.mixed_precision is MixedPrecision.FP16 and lacks_gpu():
            why = half_precision_complaint()
            yield from _at(manifest, why, why.path, ExitCode.BAD_RUN_SPEC)
        faults = list(self._of_source(manifest, spec.base, "base", ExitCode.BAD_BASE))
        yield from faults
        if not faults:
            yield from self._of_base(manifest, soup)

    def _of_base(self, manifest: ParsedManifest, soup: Soup) -> Iterator[Fault]:
        """Look through the files of a base that is there."""
        spec = soup.spec
        try:
            _, folder = self._folder(spec.base)
            if folder is None:
                return
            require_base(folder)
            step = pixels_per_latent(folder)
        except StockpotError as error:
            why = Complaint(error.message, help=error.help)
            yield from _at(manifest, why, ("spec", "base"), error.exit_code)
            return
        unfit = resolution_complaint(spec.training.resolution, step) if step else None
        if unfit:
            yield from _at(manifest, unfit, unfit.path, ExitCode.BAD_RUN_SPEC)

    def _of_source(
        self, manifest: ParsedManifest, source: Source, field: str, exit_code: ExitCode
    ) -> Iterator[Fault]:
        """Say why the folder of a source cannot be read, where it cannot."""
        try:
            why, _ = self._folder(source)
        except Refused as error:
            why, exit_code = Complaint(error.message, help=error.help), error.exit_code
        yield from _at(manifest, why, ("spec", *field.split(".")), exit_code)

    def _folder(self, source: Source) -> tuple[Complaint | None, Path | None]:
        """Find the folder of a source, or say why there is none.

        Raises:
            Refused: Its claim is not known, or its path leaves it.
        """
        told = self.claims.get(source.pvc.claim_name) if source.pvc else None
        if (told and unreadable(told)) or any(broken_rules(source)):
            return None, None  # Said of the claim, or of the path.
        location = self.surroundings.locate(source)
        folder = Path(location.path)
        advice = "look at the path, and at the folder that stands for the claim"
        if location.place is Place.STORE:
            store = self.surroundings.store_folder
            folder = store / location.path.strip("/")
            advice = f"in local mode a prefix is a folder below {store}"
        if why := unreadable(folder):
            return Complaint(why, help=_similar(folder) or advice), None
        if not any(folder.iterdir()):
            return Complaint(f"{folder} is empty", help="put the data there first"), None
        own = self.surroundings.own_folder
        if own.is_relative_to(folder.resolve()):
            return (
                Complaint(
                    f"{folder} contains {own}, in which local mode keeps objects and weights",
                    help="name a folder within it, or keep them elsewhere: --dir",
                ),
                None,
            )
        return None, folder


def sources_of(thing: DataShard | Soup) -> list[Source]:
    """Every source that an object names."""
    if isinstance(thing, DataShard):
        return [thing.spec.source]
    held_out = thing.spec.evaluation.source
    return [thing.spec.base, held_out] if held_out else [thing.spec.base]


def unreadable(folder: Path) -> str:
    """Say why nothing can be read from a folder; empty where it can."""
    try:
        if not folder.exists():
            return f"there is no folder {folder}"
        if not folder.is_dir():
            return f"{folder} is a file, and a folder is needed"
    except OSError as error:
        return f"{folder} cannot be looked at: {error.strerror}"
    if not os.access(folder, os.R_OK | os.X_OK):
        return f"the folder {folder} cannot be read by this user"
    return ""


def _similar(folder: Path) -> str:
    """Say what lies beside a folder that is not there, and has almost its name."""
    try:
        beside = [other.name for other in folder.parent.iterdir() if other.is_dir()]
    except OSError:
        return ""
    near = nearest(folder.name, beside)
    return f"did you mean {folder.parent / near}?" if near and not folder.exists() else ""


def _at(
    manifest: ParsedManifest, why: Complaint | None, path: Sequence[str | int], exit_code: ExitCode
) -> Iterable[Fault]:
    """Put a complaint where it belongs in a person's file."""
    if why is None:
        return ()
    name = f"{manifest.object.kind} {manifest.object.metadata.name}"
    message = f"{name}: {why.message}" if name not in why.message else why.message
    return (Fault(replace(why, message=message, place=manifest.place(*path)), exit_code),)


def _not_in_local_mode(manifest: ParsedManifest) -> Iterator[Complaint]:
    thing = manifest.object
    name = f"{thing.kind} {thing.metadata.name}"
    if foreign := foreign_finalizers(thing.metadata):
        yield Complaint(
            f"{name}: finalizers are not kept: {', '.join(foreign)}",
            place=manifest.place("metadata", "finalizers"),
            help="nothing in local mode would take them away",
        )
    if not isinstance(thing, Soup):
        return
    if thing.spec.serving.replicas > 1:
        yield Complaint(
            f"{name}: spec.serving.replicas is {thing.spec.serving.replicas}",
            place=manifest.place("spec", "serving", "replicas"),
            help="local mode runs one server",
        )
    if thing.spec.store.name != "default":
        yield Complaint(
            f"{name}: spec.store.name is {thing.spec.store.name}",
            place=manifest.place("spec", "store", "name"),
            help="local mode has one store, in its own folder",
        )
