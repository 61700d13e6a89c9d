"""Checks of the folders that manifests name (claims, data, bases), before a training needs them.

Stored objects are not checked again: an unlearning waits for no folder.
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
from stockpot.store.base import require_base, resolution_multiple


@dataclass(frozen=True)
class SourceCheck:
    """The manifests to apply, and the means to find their folders."""

    manifests: tuple[ParsedManifest, ...]
    objects: ObjectFolder
    environment: FolderEnvironment
    claims: Mapping[str, Path]
    """The folders of claims that this command sets."""

    def faults(self) -> Iterator[Fault]:
        """Yield every fault of the folders and of the changes to stored objects."""
        for name, folder in self.claims.items():
            if why := unreadable(folder):
                yield Fault(Complaint(why, place=f"--claim {name}={folder}"), ExitCode.INVALID)
        for manifest in self.manifests:
            yield from self._of_object(manifest)

    def notes(self) -> Iterator[Complaint]:
        """Yield settings that are ignored or changed in local mode."""
        named = {source.pvc.claim_name for source in self._sources() if source.pvc}
        for name in sorted(self.claims.keys() - named):
            yield Complaint(
                f"no object uses the claim {name}",
                place="--claim",
                help=f"claims in use: {', '.join(sorted(named)) or 'none'}",
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
        if not (is_known and stored.status.ingredient):  # A trained shard needs no data.
            yield from self._of_source(manifest, shard.spec.source, "source", ExitCode.BAD_DATA)
        if not (shard.spec.relearn and not is_known):
            return
        receipts = self.objects.list(UnlearningReceipt, shard.metadata.namespace)
        known = [receipt.metadata.name for receipt in receipts]
        # Without its receipt's object, what was unlearned is named by the UID of its shard.
        uids = {receipt.spec.shard.uid for receipt in receipts}
        for wanted in shard.spec.relearn.split(","):
            if wanted not in {*known, *uids}:
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
        """Check the files of a base whose folder exists."""
        spec = soup.spec
        try:
            _, folder = self._folder(spec.base)
            if folder is None:
                return
            require_base(folder, spec.base.variant or "")
            step = resolution_multiple(folder)
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
        """Yield why the folder of a source cannot be used, if it cannot."""
        try:
            why, _ = self._folder(source)
        except Refused as error:
            why, exit_code = Complaint(error.message, help=error.help), error.exit_code
        yield from _at(manifest, why, ("spec", *field.split(".")), exit_code)

    def _folder(self, source: Source) -> tuple[Complaint | None, Path | None]:
        """Return the folder of a source, or a complaint. Neither if another check reports it.

        Raises:
            Refused: No folder is set for its claim, or its path leaves the claim.
        """
        claim_folder = self.claims.get(source.pvc.claim_name) if source.pvc else None
        if (claim_folder and unreadable(claim_folder)) or any(broken_rules(source)):
            return None, None  # Reported for the claim, or for the path.
        location = self.environment.locate(source)
        folder = Path(location.path)
        advice = "check the path, and the folder that --claim names for the claim"
        if location.place is Place.STORE:
            store = self.environment.store_folder
            folder = store / location.path.strip("/")
            advice = f"in local mode, an s3 prefix is a folder below {store}"
        if why := unreadable(folder):
            return Complaint(why, help=_similar(folder) or advice), None
        if not any(folder.iterdir()):
            return Complaint(
                f"the folder {folder} is empty", help="copy the data into it first"
            ), None
        own = self.environment.own_folder
        if own.is_relative_to(folder.resolve()):
            return (
                Complaint(
                    f"the folder {folder} contains {own}, the folder of local mode itself",
                    help="name a folder that does not contain it, or move it with --dir",
                ),
                None,
            )
        return None, folder


def sources_of(thing: DataShard | Soup) -> list[Source]:
    """List every source that an object names."""
    if isinstance(thing, DataShard):
        return [thing.spec.source]
    held_out = thing.spec.evaluation.source
    return [thing.spec.base, held_out] if held_out else [thing.spec.base]


def unreadable(folder: Path) -> str:
    """Return why a folder cannot be read, or an empty string if it can."""
    try:
        if not folder.exists():
            return f"there is no folder {folder}"
        if not folder.is_dir():
            return f"{folder} is a file, not a folder"
    except OSError as error:
        return f"the folder {folder} cannot be read: {error.strerror}"
    if not os.access(folder, os.R_OK | os.X_OK):
        return f"this user cannot read the folder {folder}"
    return ""


def _similar(folder: Path) -> str:
    """Suggest a folder with a similar name beside one that does not exist."""
    try:
        beside = [other.name for other in folder.parent.iterdir() if other.is_dir()]
    except OSError:
        return ""
    near = nearest(folder.name, beside)
    return f"did you mean {folder.parent / near}?" if near and not folder.exists() else ""


def _at(
    manifest: ParsedManifest, why: Complaint | None, path: Sequence[str | int], exit_code: ExitCode
) -> Iterable[Fault]:
    """Make a fault of a complaint, with its object and its line in the manifest."""
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
            f"{name}: finalizers are ignored: {', '.join(foreign)}",
            place=manifest.place("metadata", "finalizers"),
            help="no component of local mode would remove them",
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
