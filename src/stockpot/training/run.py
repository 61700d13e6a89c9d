"""The verb `train`: from a shard's data and the base to one ingredient in the store.

read tombstones, base and data  →  training key  →  published already? then return that ingredient
encode  →  train, from the last checkpoint  →  round, publish  →  remove the checkpoints
"""

import shutil
import threading
import time
from pathlib import Path

import structlog
import torch

from stockpot import __version__
from stockpot.api.manifest import ArtefactKind, IngredientForm, LineagePair, Manifest
from stockpot.api.results import TrainResult
from stockpot.api.runspec import TrainRun
from stockpot.api.training import MixedPrecision, WeightsDtype
from stockpot.core.digests import Digest, digest_of_records
from stockpot.core.omissions import combine
from stockpot.core.training_key import TRAINING_SEMANTICS, shard_seed, training_key
from stockpot.diffusion.families.registry import open_family
from stockpot.diffusion.objectives import ObjectiveSettings
from stockpot.diffusion.records import Record, exclude, read_folder
from stockpot.errors import ExitCode, Refused
from stockpot.metrics.progress import Progress
from stockpot.process.interruption import raise_if_stopping
from stockpot.store.artefacts import find_complete
from stockpot.store.base import OpenBase, open_base
from stockpot.store.keys import RECORD_LIST, WEIGHTS, Keys
from stockpot.store.namespace_mark import claim_prefix
from stockpot.store.open import open_store
from stockpot.store.record_list import ListedRecord, write_record_list
from stockpot.store.sources import fetch_folder
from stockpot.store.tombstones import refuse_forgotten, refuse_too_many
from stockpot.training.checkpoint import Checkpoints
from stockpot.training.latent_cache import EncodedShard, encode_records
from stockpot.training.load_method import load_method
from stockpot.training.loop import TrainedWeights, train
from stockpot.training.optimizer import read_optimizer
from stockpot.training.publish import publish_ingredient, update_manifest, write_weights

log = structlog.get_logger()

_FROZEN = {
    MixedPrecision.NO: torch.float32,
    MixedPrecision.FP16: torch.float16,
    MixedPrecision.BF16: torch.bfloat16,
}
"""What weights are held in that are not trained: what the forward pass computes in."""


def run(spec: TrainRun, *, work: Path, progress: Progress, stop: threading.Event) -> TrainResult:
    """Train one shard, or return the ingredient that the same training published.

    Args:
        spec: The shard, base, training and store.
        work: Scratch folder of this run, empty or as an earlier attempt left it. Its folder
            `training/` is removed when the run is done or refused, so that no copy of the data
            stays that an unlearning does not reach.
        progress: Goes through `reading`, `encoding`, `training` and `publishing`.
        stop: When set, the run saves its state and ends.

    Raises:
        Refused: An input is missing, wrong or forgotten; see the exit codes.
        StockpotError: (INTERRUPTED) `stop` was set.
        Transient: Store or disk failed.
    """
    scratch = work / "training"
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        result = _run(spec, scratch, progress, stop)
    except Refused:
        shutil.rmtree(scratch)  # Another attempt would fail the same way.
        raise
    shutil.rmtree(scratch)
    return result


def _run(spec: TrainRun, work: Path, progress: Progress, stop: threading.Event) -> TrainResult:
    begun_s = time.monotonic()
    store, keys = open_store(spec.store, spec.soup.namespace), Keys(spec.soup.namespace)
    left_out = len(set(spec.exclude_records))

    def check_tombstone() -> None:
        refuse_forgotten(store, keys, [spec.shard.uid])
        refuse_too_many(store, keys, spec.shard.uid, left_out)

    def check_training(key: Digest) -> None:
        pair = LineagePair(shard=spec.shard.uid, training_key=key)
        refuse_forgotten(store, keys, [], [pair])
        check_tombstone()

    claim_prefix(store, keys, spec.namespace)
    check_tombstone()
    progress.begin("reading")
    # Names are checked before data is read: a wrong one costs no download.
    load_method(spec.training.method)
    read_optimizer(spec.training.optimizer)
    base = open_base(spec.base, store, work)
    raise_if_stopping(stop)
    folder = read_folder(fetch_folder(spec.source, store, work / "data"))
    _refuse_other_data(spec, digest_of_records(record.digest for record in folder.records))
    kept = exclude(folder.records, spec.exclude_records, may_be_missing=spec.gone_records)
    records = kept.records
    data = digest_of_records(record.digest for record in records)
    raise_if_stopping(stop)

    key = training_key(base.digest, data, spec.training)
    folder_key = keys.ingredient(spec.shard.uid, key)
    check_training(key)
    manifest = Manifest(
        kind=ArtefactKind.INGREDIENT,
        lineage=(LineagePair(shard=spec.shard.uid, training_key=key),),
        base_digest=base.digest,
        data_digest=data,
        request=spec.request,
        left_out=left_out or None,
        training_semantics=TRAINING_SEMANTICS,
        shard_name=spec.shard.name,
        made_by=f"stockpot {__version__}",
    )
    checkpoints = Checkpoints(
        store=store,
        folder_key=keys.training_run(spec.shard.uid, spec.request),
        manifest=manifest.model_copy(update={"kind": ArtefactKind.TRAINING}),
        training_key=key,
        work=work,
        refuse_forgotten=lambda: check_training(key),
    )
    finished = find_complete(store, folder_key)
    reused = finished is not None
    if finished and finished.request != spec.request:
        # A purge of left-out records keeps ingredients of the current request.
        changes = {"request": spec.request, "left_out": left_out or None}
        finished = update_manifest(store, folder_key, finished.model_copy(update=changes))
    if finished is None:
        encoded, trained = _train(spec, base, records, data, checkpoints, work, progress, stop)
        likenesses = encoded.likeness_by_place
        progress.begin("publishing")
        # Factors are small, and rounding them would cost more than it saves.
        dtype = WeightsDtype.FP32 if trained.is_lora else spec.training.publish_dtype
        write_weights(trained.tensors, dtype, work / WEIGHTS)
        facts = {
            "steps": str(spec.training.max_train_steps),
            "final_loss": f"{trained.running_loss:.6f}",
            "seconds": f"{time.monotonic() - begun_s:.1f}",
        }
        check_training(key)
        finished = publish_ingredient(
            store,
            folder_key,
            work / WEIGHTS,
            write_record_list(
                work / RECORD_LIST,
                (
                    ListedRecord(each.name, each.picture, each.digest, likenesses.get(place, ""))
                    for place, each in enumerate(records)
                ),
            ),
            manifest.model_copy(
                update={
                    "records": encoded.records,
                    "form": IngredientForm.LORA if trained.is_lora else IngredientForm.WEIGHTS,
                    "omissions": encoded.omissions,
                    "facts": facts,
                }
            ),
        )
    checkpoints.clear()
    omissions = combine(folder.omissions, kept.omissions, finished.omissions)
    for omission in omissions:
        log.warning("Data not used as given", **omission.model_dump())
    return TrainResult(
        reused=reused,
        base_digest=base.digest,
        data_digest=data,
        records=finished.records or 0,
        training_key=key,
        weights_digest=finished.digest or "",
        size_bytes=finished.size_bytes,
        omissions=omissions,
        figures=finished.facts,
    )


def _train(
    spec: TrainRun,
    base: OpenBase,
    records: list[Record],
    data: Digest,
    checkpoints: Checkpoints,
    work: Path,
    progress: Progress,
    stop: threading.Event,
) -> tuple[EncodedShard, TrainedWeights]:
    """Encode and train on the GPU, or on the CPU where there is none."""
    training = spec.training
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    family = open_family(base.folder, device=device)
    objective = family.objective(ObjectiveSettings.of(training))
    encoded = encode_records(
        family,
        records,
        training,
        base=base.digest,
        data=data,
        work=work,
        progress=progress,
        stop=stop,
    )
    for corrupt in encoded.corrupt:
        log.warning("Left a picture out", picture=corrupt)
    seed = shard_seed(training, data)
    method = load_method(training.method, seed=seed, denoiser=base.layout.denoiser)
    frozen = _FROZEN[training.mixed_precision] if method.freezes_weights else torch.float32
    trained = train(
        family.load_denoiser(base.denoiser_files, device=device, dtype=frozen),
        encoded,
        family=family,
        method=method,
        objective=objective,
        training=training,
        seed=seed,
        device=device,
        checkpoints=checkpoints,
        progress=progress,
        stop=stop,
    )
    return encoded, trained


def _refuse_other_data(spec: TrainRun, actual: Digest) -> None:
    if spec.data_digest is not None and spec.data_digest != actual:
        raise Refused(
            f"The data of shard {spec.shard.name} is {actual}, and {spec.data_digest} was named.",
            help="Restore the data, or put the actual digest into the DataShard.",
            exit_code=ExitCode.WRONG_DIGEST,
        )
