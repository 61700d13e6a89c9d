"""Checkpoints of a training in the store, under the shard's lineage, for its next attempt.

    <run folder>/manifest.json                  kind Training: the shard, the training key
    <run folder>/step-00000050.safetensors      weights, EMA, moments of the optimizer: float32
    <run folder>/step-00000050.json             written last: with it the checkpoint is whole

A checkpoint that was cut short or edited is dropped with a log line, and the one before it is used.
There are no pickles, so reading one runs no code.
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
"""The newest, and the one before it in case the newest is broken."""
_NOTE = re.compile(r"step-(\d{8})\.json")


class CheckpointNote(Model):
    """The metadata beside a checkpoint's tensors; written last, it completes the checkpoint."""

    version: int = 1
    training_key: DigestString
    step: int
    """Steps that are done."""
    digest: DigestString
    """Digest of the file with the tensors."""
    size_bytes: int
    running_loss: str
    """A hexadecimal float, which is exact."""
    optimizer_steps: int
    """Fewer than `step` where a gradient in fp16 overflowed and its step was skipped."""
    scaler: dict[str, str] = field(default_factory=dict)
    """The loss scale of fp16 and its count, as hexadecimal floats; empty for other precisions."""


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training between two steps."""

    step: int
    running_loss: float
    optimizer_steps: int
    scaler: Mapping[str, float]
    tensors: Mapping[str, Tensor]
    """Keys are `<kind>/<parameter>`; kinds are weights, average (the EMA), exp_avg, exp_avg_sq."""


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one training run in the store."""

    store: ObjectStore
    folder_key: str
    """The run's folder in the store, ending in a slash."""
    manifest: Manifest
    """A manifest of kind Training; its lineage covers all checkpoints."""
    training_key: Digest
    work: Path
    refuse_forgotten: Callable[[], None]
    """Raises if the shard has a tombstone; called before each write."""

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, then remove all older ones but the last."""
        self.refuse_forgotten()
        before = self._steps()
        if not before:
            begin(self.store, self.folder_key, self.manifest)
        path = self.work / _tensors_name(checkpoint.step)
        save_file(dict(checkpoint.tensors), path)
        note = CheckpointNote(
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
        """Load the newest complete checkpoint of this training; drop newer, unusable ones."""
        for step in self._steps():
            try:
                return self._load(step)
            except _UnusableCheckpoint as error:
                log.warning("Dropped a checkpoint", step=step, reason=str(error))
                self._drop(step)
        return None

    def clear(self) -> None:
        """Remove all checkpoints, once the ingredient is published."""
        keys = [info.key for info in self.store.list(self.folder_key)]
        # The manifest goes last: until then the lineage of what remains is known.
        for key in sorted(keys, key=lambda key: key == self.folder_key + MANIFEST):
            self.store.delete(key)

    def _steps(self) -> list[int]:
        """List the steps that have a checkpoint, newest first."""
        names = (
            info.key.removeprefix(self.folder_key) for info in self.store.list(self.folder_key)
        )
        return sorted((int(m[1]) for name in names if (m := _NOTE.fullmatch(name))), reverse=True)

    def _load(self, step: int) -> Checkpoint:
        try:
            note = CheckpointNote.model_validate_json(
                self.store.get(self.folder_key + _note_name(step)) or b""
            )
        except ValidationError as error:
            raise _UnusableCheckpoint("its note cannot be understood") from error
        if note.version != 1 or note.step != step:
            raise _UnusableCheckpoint("its note is of another checkpoint or version")
        if note.training_key != self.training_key:
            raise _UnusableCheckpoint(
                "it is of another training: base, data or training fields differ"
            )
        path = self.work / _tensors_name(step)
        try:
            self.store.get_file(self.folder_key + path.name, path)
        except KeyError as error:
            raise _UnusableCheckpoint("its tensors are missing") from error
        if path.stat().st_size != note.size_bytes:
            raise _UnusableCheckpoint(f"it has {path.stat().st_size} bytes of {note.size_bytes}")
        if file_digest(path) != note.digest:
            raise _UnusableCheckpoint("it was edited: its digest differs from the one in its note")
        try:
            tensors = load_file(path)
        except SafetensorError as error:
            raise _UnusableCheckpoint(f"it is no safetensors file: {error}") from error
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


class _UnusableCheckpoint(Exception):
    """The checkpoint cannot be used; the message says why."""


def _tensors_name(step: int) -> str:
    return f"step-{step:08d}.safetensors"


def _note_name(step: int) -> str:
    return f"step-{step:08d}.json"
