"""Latents and encoded captions of a shard, computed once and cached in the run's scratch folder.

VAE and text encoders are frozen, so their output for a record is the same at every step. The cache
file is named by a digest of its inputs. It is removed with the scratch folder and never stored.
"""

# F flips (1, or 2 with mirrored pictures), N records, U captions, L latent channels,
# H and W latent size.

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from stockpot.api.omissions import Omission, OmissionReason, Omissions
from stockpot.api.soups import resolution_complaint
from stockpot.api.training import Training
from stockpot.core.digests import Digest, digest_of_json, short
from stockpot.core.omissions import OmissionCounter
from stockpot.diffusion.caption_window import count_unread_captions
from stockpot.diffusion.families.port import Conditions, Family
from stockpot.diffusion.likeness import LIKENESS_BYTES, likeness_of
from stockpot.diffusion.pictures import crop_sizes, pixels
from stockpot.diffusion.records import CorruptPicture, Record
from stockpot.errors import ExitCode, Refused
from stockpot.extensions import refuse
from stockpot.metrics.progress import Progress
from stockpot.process.interruption import raise_if_stopping

_BATCH_SIZE = 64
_NAMED_AT_MOST = 5
_CONDITION = "conditions/"
"""The prefix of conditions among the tensors of a cache file."""


@dataclass(frozen=True)
class EncodedShard:
    """The shard as the loop reads it. Rows are in order of the records' digests."""

    latents: Tensor
    """Scaled, float32, shape (F, N, L, H, W)."""
    conditions: Conditions
    """Float32, each with U rows; the first is of the empty caption."""
    captions: Tensor
    """Index of each record's row in the conditions, shape (N,)."""
    sizes: Tensor
    """Original height and width of each picture, top and left of the crop, and height and width
    that were aimed at; in pixels, shape (N, 6)."""
    likenesses: Tensor
    """Perceptual hash of each record's picture, uint8, shape (N, 16)."""
    places: Tensor
    """Index of each record among those that were to be encoded, shape (N,)."""
    corrupt: tuple[str, ...]
    """Pictures that cannot be decoded, and why; they are in none of the tensors."""
    omissions: Omissions = ()
    """Pictures and captions that the tensors hold in part or not at all, corrupt ones included."""

    @property
    def likeness_by_place(self) -> Mapping[int, str]:
        """The perceptual hash of each record's picture in hex, by its place."""
        hashes = (bytes(row).hex() for row in self.likenesses.tolist())
        return dict(zip(self.places.tolist(), hashes, strict=True))

    @property
    def records(self) -> int:
        """The number of records that are trained on."""
        return len(self.captions)


def encode_records(
    family: Family,
    records: Sequence[Record],
    training: Training,
    *,
    base: Digest,
    data: Digest,
    work: Path,
    progress: Progress,
    stop: threading.Event,
) -> EncodedShard:
    """Encode a shard, or load what an earlier attempt of the run encoded.

    Args:
        family: The base's frozen parts.
        records: At least one, in order of digest.
        training: Its `resolution`, `random_flip` and `max_corrupt_percent`.
        base: Digest of the base.
        data: Digest of the records.
        work: The run's scratch folder.
        progress: Reports each batch.
        stop: When set, encoding ends after the current batch.

    Raises:
        Refused: (BAD_DATA) More pictures are corrupt than the training allows; names five.
            (BAD_RUN_SPEC) The resolution does not go into latents.
    """
    unfit = resolution_complaint(training.resolution, family.size_multiple)
    refuse([unfit] if unfit else [])
    name = digest_of_json(
        "encoded/4",
        {
            "base": base,
            "data": data,
            "device": family.device.type,
            "flip": training.random_flip,
            "resolution": training.resolution,
        },
    )
    kept = work / f"encoded-{short(name)}.safetensors"
    encoded = _load(kept, name)
    if encoded is None:
        encoded = _encode(family, records, training, progress, stop)
        _save(encoded, kept, name)
    _refuse_too_corrupt(encoded, len(records), training.max_corrupt_percent)
    return encoded


def _encode(
    family: Family,
    records: Sequence[Record],
    training: Training,
    progress: Progress,
    stop: threading.Event,
) -> EncodedShard:
    progress.begin("encoding", len(records))
    latents: list[Tensor] = []
    usable: list[Record] = []
    likenesses: list[bytes] = []
    sizes: list[Tensor] = []
    places: list[int] = []
    corrupt: list[str] = []
    counter = OmissionCounter()
    for at in range(0, len(records), _BATCH_SIZE):
        raise_if_stopping(stop)
        pictures = []
        for index, record in enumerate(records[at : at + _BATCH_SIZE], start=at):
            try:
                decoded = record.decode_with_notes()
            except CorruptPicture as error:
                corrupt.append(str(error))
                counter.add(OmissionReason.CORRUPT_PICTURE, str(error))
                continue
            pictures.append(pixels(decoded.image, training.resolution))
            sizes.append(crop_sizes(decoded.image, training.resolution))
            likenesses.append(likeness_of(decoded.image))
            places.append(index)
            usable.append(record)
            for note in decoded.notes:
                counter.add(note, record.name)
        if pictures:
            latents.append(_latents(family, torch.stack(pictures), training.random_flip))
        progress.advance(min(at + _BATCH_SIZE, len(records)))
    count_unread_captions(family.tokenizer, usable, counter)
    texts = ["", *sorted({record.caption for record in usable})]
    place = {text: number for number, text in enumerate(texts)}
    return EncodedShard(
        latents=torch.cat(latents, dim=1) if latents else torch.zeros(1, 0),
        conditions=_conditions(family, texts, stop),
        captions=torch.tensor([place[record.caption] for record in usable], dtype=torch.int64),
        sizes=torch.stack(sizes) if sizes else torch.zeros(0, 6, dtype=torch.int64),
        likenesses=torch.tensor([*b"".join(likenesses)], dtype=torch.uint8).view(
            len(usable), LIKENESS_BYTES
        ),
        places=torch.tensor(places, dtype=torch.int64),
        corrupt=tuple(corrupt),
        omissions=counter.omissions(),
    )


def _latents(family: Family, pictures: Tensor, flip: bool) -> Tensor:
    views = (pictures, pictures.flip(-1)) if flip else (pictures,)
    return torch.stack([family.encode_pictures(view).float().cpu() for view in views])


def _conditions(family: Family, texts: Sequence[str], stop: threading.Event) -> Conditions:
    """Encode captions, of which the first is the empty one.

    It is encoded with the others: in a batch of another size the last bits differ, and with them
    every byte of a training.
    """
    encoded = []
    for at in range(0, len(texts), _BATCH_SIZE):
        raise_if_stopping(stop)
        encoded.append(family.encode_captions(texts[at : at + _BATCH_SIZE]))
    conditions = {
        name: torch.cat([rows[name].float().cpu() for rows in encoded]) for name in encoded[0]
    }
    if family.has_zeros_for_empty:
        for rows in conditions.values():
            rows[0] = 0
    return conditions


def _save(encoded: EncodedShard, path: Path, name: Digest) -> None:
    tensors = {
        "latents": encoded.latents,
        **{_CONDITION + name: rows for name, rows in encoded.conditions.items()},
        "captions": encoded.captions,
        "sizes": encoded.sizes,
        "likenesses": encoded.likenesses,
        "places": encoded.places,
    }
    unfinished = path.with_suffix(".unfinished")
    facts = {
        "name": name,
        "corrupt": json.dumps(encoded.corrupt),
        "omissions": json.dumps([omission.model_dump() for omission in encoded.omissions]),
    }
    save_file(tensors, unfinished, facts)
    unfinished.replace(path)


def _load(path: Path, name: Digest) -> EncodedShard | None:
    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            if facts.get("name") != name:
                return None
            return EncodedShard(
                latents=file.get_tensor("latents"),
                conditions={
                    name.removeprefix(_CONDITION): file.get_tensor(name)
                    for name in file.keys()  # noqa: SIM118
                    if name.startswith(_CONDITION)
                },
                captions=file.get_tensor("captions"),
                sizes=file.get_tensor("sizes"),
                likenesses=file.get_tensor("likenesses"),
                places=file.get_tensor("places"),
                corrupt=tuple(json.loads(facts["corrupt"])),
                omissions=tuple(
                    Omission.model_validate(omission) for omission in json.loads(facts["omissions"])
                ),
            )
    except (OSError, SafetensorError):
        return None


def _refuse_too_corrupt(encoded: EncodedShard, total: int, allowed_percent: int) -> None:
    count = len(encoded.corrupt)
    if encoded.records and count * 100 <= allowed_percent * total:
        return
    named = "; ".join(encoded.corrupt[:_NAMED_AT_MOST])
    more = f"; and {count - _NAMED_AT_MOST} more" if count > _NAMED_AT_MOST else ""
    raise Refused(
        f"{count} of {total} pictures cannot be read, and {allowed_percent} % may be so: "
        f"{named}{more}.",
        help="Repair or remove them, or raise training.maxCorruptPercent of the Soup.",
        exit_code=ExitCode.BAD_DATA,
    )
