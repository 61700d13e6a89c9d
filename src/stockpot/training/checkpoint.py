"""What a cut-off training leaves for its next attempt, in the store, under its own lineage.

    <run folder>/manifest.json                  kind Training: the shard, the training key
    <run folder>/step-00000050.safetensors      weights, average, moments of the optimiser: float32
    <run folder>/step-00000050.json             written last: with it the checkpoint is whole

A checkpoint that was cut short or edited is dropped with a log line, and the one before it used:
it saves time, and nothing rests on it. No pickles, so reading one runs no code.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from stockpot.api.manifest import Manifest
from stockpot.api.model import DigestString, Model
from stockpot.core.digests import Digest
from stockpot.store.artefacts import begin
from stockpot.store.keys import MANIFEST
from stockpot.store.port import ObjectStore
from stockpot.store.sources import file_digest

log = structlog.get_logger()

KEPT = 2
"""The newest, and the one before it for when the newest turns out to be broken."""
_NOTE = re.compile(r"step-(\d{8})\.json")


class Note(Model):
    """What stands beside a checkpoint's tensors, and makes it whole."""

    version: int = 1
    training_key: DigestString
    step: int
    """How many steps are done."""
    digest: DigestString
    """Of the file with the tensors."""
    size_bytes: int
    running_loss: str
    """As a hexadecimal float: exact."""
    optimizer_steps: int
    """Fewer than `step` where a gradient in fp16 overflowed and its step was skipped."""
    scaler: dict[str, str] = field(default_factory=dict)
    """The loss scale of fp16 and its count, as hexadecimal floats; empty for other precisions."""


@dataclass(frozen=True)
class Checkpoint:
    """A training between two steps."""

    step: int
    running_loss: float
    optimizer_steps: int
    scaler: Mapping[str, float]
    tensors: Mapping[str, Tensor]
    """Keys are `<what>/<parameter>`, what being weights, average, exp_avg or exp_avg_sq."""


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one training run in the store."""

    store: ObjectStore
    folder_key: str
    """Of the run, ending in a slash."""
    manifest: Manifest
    """Whose kind is Training: covers with its lineage all that is written here."""
    training_key: Digest
    work: Path
    refuse_forgotten: Callable[[], None]
    """Raises where the shard has a tombstone. Asked before anything is written."""

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, and only then remove all but the one before it."""
        self.refuse_forgotten()
        before = self._steps()
        if not before:
            begin(self.store, self.folder_key, self.manifest)
        path = self.work / _tensors_name(checkpoint.step)
        save_file(dict(checkpoint.tensors), path)
        note = Note(
            training_key=self.training_key,
            step=checkpoint.step,
            digest=file_digest(path),
            size_bytes=path.stat().st_size,
            running_loss=checkpoint.running_loss.hex(),
            optimizer_steps=checkpoint.optimizer_steps,
            scaler={name: value.hex() for name, value in checkpoint.scaler.items()},
        )
        self.store.put_file(self.folder_key + path.name, path)
        note_key = self.folder_key + _note_name(checkpoint.step)
        self.store.put(note_key, note.model_dump_json(indent=2).encode() + b"\n")
        path.unlink()
        for step in [step for step in before if step != checkpoint.step][KEPT - 1 :]:
            self._drop(step)

    def newest(self) -> Checkpoint | None:
        """Find the newest checkpoint that is whole and of this training; drop all others."""
        for step in self._steps():
            try:
                return self._load(step)
            except _Broken as broken:
                log.warning("Dropped a checkpoint", step=step, reason=str(broken))
                self._drop(step)
        return None

    def clear(self) -> None:
        """Remove all that this run left: nobody needs it once the ingredient is published."""
        keys = [info.key for info in self.store.list(self.folder_key)]
        # The manifest last: until then the lineage of what is left is known.
        for key in sorted(keys, key=lambda key: key == self.folder_key + MANIFEST):
            self.store.delete(key)

    def _steps(self) -> list[int]:
        """The steps of which there are checkpoints, newest first."""
        names = (
            info.key.removeprefix(self.folder_key) for info in self.store.list(self.folder_key)
        )
        return sorted((int(m[1]) for name in names if (m := _NOTE.fullmatch(name))), reverse=True)

    def _load(self, step: int) -> Checkpoint:
        try:
            note = Note.model_validate_json(
                self.store.get(self.folder_key + _note_name(step)) or b""
            )
        except ValidationError as error:
            raise _Broken("its note cannot be understood") from error
        if note.version != 1 or note.step != step:
            raise _Broken("its note is of another checkpoint or version")
        if note.training_key != self.training_key:
            raise _Broken("it is of another training: base, data or training fields differ")
        path = self.work / _tensors_name(step)
        try:
            self.store.get_file(self.folder_key + path.name, path)
        except KeyError as error:
            raise _Broken("its tensors are missing") from error
        if path.stat().st_size != note.size_bytes:
            raise _Broken(f"it has {path.stat().st_size} bytes of {note.size_bytes}")
        if file_digest(path) != note.digest:
            raise _Broken("it was edited: its digest is not the one that was noted")
        try:
            tensors = load_file(path)
        except SafetensorError as error:
            raise _Broken(f"it is no safetensors file: {error}") from error
        finally:
            path.unlink()
        return Checkpoint(
            step=step,
            running_loss=float.fromhex(note.running_loss),
            optimizer_steps=note.optimizer_steps,
            scaler={name: float.fromhex(value) for name, value in note.scaler.items()},
            tensors=tensors,
        )

    def _drop(self, step: int) -> None:
        self.store.delete(self.folder_key + _note_name(step))
        self.store.delete(self.folder_key + _tensors_name(step))


class _Broken(Exception):
    """Why a checkpoint is not used."""


def _tensors_name(step: int) -> str:
    return f"step-{step:08d}.safetensors"


def _note_name(step: int) -> str:
    return f"step-{step:08d}.json"
