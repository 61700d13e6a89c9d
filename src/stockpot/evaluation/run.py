"""The verb `evaluate`: run a suite of evaluators on one revision and publish the evaluation.

read tombstones and held-out records  →  evaluated already? then return that evaluation
open base and revision  →  run each evaluator  →  publish, with the lineage of the revision
"""

import json
import shutil
import threading
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from stockpot import __version__
from stockpot.api.manifest import ArtefactKind, Manifest
from stockpot.api.omissions import Omission, Omissions
from stockpot.api.results import EvaluateResult
from stockpot.api.runspec import EvaluateRun
from stockpot.core.digests import Digest, digest_of_json, digest_of_records
from stockpot.core.omissions import OmissionCounter, combine
from stockpot.diffusion.caption_window import count_unread_captions
from stockpot.diffusion.device import drawing_device
from stockpot.diffusion.families.registry import open_family
from stockpot.diffusion.records import DataFolder, Record, read_folder
from stockpot.errors import ExitCode, Refused
from stockpot.evaluation.evaluator import EvaluatedRevision, EvaluatorResult
from stockpot.evaluation.measurements import Measurement, require_numbers
from stockpot.evaluation.suite import load_suite
from stockpot.metrics.progress import Progress
from stockpot.store.artefacts import EVALUATION, begin, find_complete, publish
from stockpot.store.base import open_base
from stockpot.store.keys import Keys
from stockpot.store.namespace_mark import claim_prefix
from stockpot.store.open import open_store
from stockpot.store.port import ObjectStore
from stockpot.store.revisions import fetch_revision
from stockpot.store.sources import fetch_folder
from stockpot.store.tombstones import refuse_forgotten


def run(
    spec: EvaluateRun, *, work: Path, progress: Progress, stop: threading.Event
) -> EvaluateResult:
    """Evaluate a revision, or return its evaluation by the same suite on the same records.

    Raises:
        Refused: A shard of its lineage was forgotten (exit 47); the revision or the base is refused
            (43, 45, 46); the held-out records cannot be read (42); an evaluator is unknown,
            refuses its options or breaks (48).
        Transient: The store or the disk fails.
        StockpotError: The process was asked to stop (75); nothing was published.
    """
    began_s = time.monotonic()
    store, keys = open_store(spec.store, spec.soup.namespace), Keys(spec.soup.namespace)
    claim_prefix(store, keys, spec.namespace)
    refuse_forgotten(
        store, keys, {pair.shard for pair in spec.revision.lineage}, spec.revision.lineage
    )
    suite = load_suite(spec.suite, has_records=spec.held_out is not None)
    scratch = work / "evaluate"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        progress.begin("reading held-out records")
        held_out = _held_out(spec, store, scratch)
        records = tuple(held_out.records)
        question = _question(spec, records)
        folder_key = keys.evaluation(spec.soup.uid, spec.revision.recipe_digest)
        published = _find_published(store, folder_key, question)
        if published is not None:
            return _result(published, held_out.omissions, reused=True)

        progress.begin("opening the revision")
        base = open_base(spec.base, store, scratch / "base")
        weights = fetch_revision(store, keys, spec.soup.uid, spec.revision, scratch)
        place = drawing_device()
        family = open_family(base.folder, device=place.device, dtype=place.dtype)
        denoiser = family.load_denoiser([weights], device=family.device, dtype=family.dtype)
        revision = EvaluatedRevision(
            family, denoiser, records, spec.resolution, progress.advance, stop
        )
        results = []
        for name, evaluator in suite:
            progress.begin(name)
            results.append(evaluator.evaluate(revision))
        figures = _figures(results)
        counter = OmissionCounter()
        count_unread_captions(family.tokenizer, records, counter)
        omissions = combine(counter.omissions(), *(result.omissions for result in results))

        progress.begin("publishing")
        manifest = _manifest(spec, base.digest, records, question, results)
        seconds = time.monotonic() - began_s
        evaluation = _evaluation(spec, base.digest, question, figures, omissions, seconds)
        files = _write_files(results, evaluation, scratch)
        refuse_forgotten(store, keys, {pair.shard for pair in manifest.lineage}, manifest.lineage)
        begin(store, folder_key, manifest)
        publish(store, folder_key, files, manifest)
        return _result(evaluation, held_out.omissions, reused=False)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _held_out(spec: EvaluateRun, store: ObjectStore, scratch: Path) -> DataFolder:
    if spec.held_out is None:
        return DataFolder([])
    return read_folder(fetch_folder(spec.held_out, store, scratch / "held-out"))


def _question(spec: EvaluateRun, records: tuple[Record, ...]) -> Digest:
    """Digest everything that the figures depend on; evaluations of equal digest are reused."""
    return digest_of_json(
        "question/1",
        {
            "weights": spec.revision.weights_digest,
            "suite": [[named.name, dict(named.options)] for named in spec.suite],
            "records": digest_of_records(record.digest for record in records),
            "resolution": spec.resolution,
        },
    )


def _find_published(store: ObjectStore, folder_key: str, question: Digest) -> dict[str, Any] | None:
    manifest = find_complete(store, folder_key)
    if manifest is None or manifest.facts.get("question") != question:
        return None
    evaluation: dict[str, Any] = json.loads(store.get(folder_key + EVALUATION) or b"{}")
    return evaluation if evaluation.get("question") == question else None


def _figures(results: list[EvaluatorResult]) -> dict[str, Measurement]:
    figures: dict[str, Measurement] = {}
    for result in results:
        _require_new("figure", result.figures, figures)
        figures |= result.figures
    for name, figure in figures.items():
        require_numbers(name, figure)
    return figures


def _require_new(what: str, names: Iterable[str], before: Collection[str]) -> None:
    """Refuse two evaluators that return the same name: one would replace the other's result."""
    if twice := sorted(set(names) & set(before)):
        raise Refused(
            f"Two evaluators of the suite give the {what} {twice[0]}.",
            help="take one of them out of spec.evaluation.suite",
            exit_code=ExitCode.BAD_RUN_SPEC,
        )


def _manifest(
    spec: EvaluateRun,
    base: Digest,
    records: tuple[Record, ...],
    question: Digest,
    results: list[EvaluatorResult],
) -> Manifest:
    fitted_on = {pair for result in results for pair in result.fitted_on}
    lineage = {*spec.revision.lineage, *fitted_on}
    return Manifest(
        kind=ArtefactKind.EVALUATION,
        lineage=tuple(sorted(lineage, key=lambda pair: (pair.shard, pair.training_key))),
        base_digest=base,
        data_digest=digest_of_records(record.digest for record in records) if records else None,
        records=len(records) if records else None,
        recipe_digest=spec.revision.recipe_digest,
        made_by=f"stockpot {__version__}",
        facts={"question": question},
    )


def _evaluation(
    spec: EvaluateRun,
    base: Digest,
    question: Digest,
    figures: dict[str, Measurement],
    omissions: Omissions,
    seconds: float,
) -> dict[str, Any]:
    """Build the content of `evaluation.json`."""
    return {
        "version": 1,
        "question": question,
        "recipeDigest": spec.revision.recipe_digest,
        "weightsDigest": spec.revision.weights_digest,
        "baseDigest": base,
        "suite": [named.model_dump() for named in spec.suite],
        "metrics": {name: figure.to_json() for name, figure in figures.items()},
        "omissions": [omission.model_dump() for omission in omissions],
        "seconds": round(seconds, 1),
    }


def _write_files(
    results: list[EvaluatorResult], evaluation: dict[str, Any], scratch: Path
) -> dict[str, Path]:
    folder = scratch / "files"
    folder.mkdir(parents=True)
    contents: dict[str, bytes] = {}
    for result in results:
        _require_new("file", result.files, contents)
        contents |= result.files
    contents[EVALUATION] = json.dumps(evaluation, indent=1, ensure_ascii=False).encode() + b"\n"
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return {name: folder / name for name in contents}


def _result(
    evaluation: dict[str, Any], folder_omissions: Omissions, *, reused: bool
) -> EvaluateResult:
    """Build the run's result.

    Args:
        evaluation: The content of `evaluation.json`; older versions wrote no omissions.
        folder_omissions: What the folder of held-out records has and was not read.
        reused: Whether the evaluation was published before this run.
    """
    figures = {name: f"{metric['value']:.6f}" for name, metric in evaluation["metrics"].items()}
    omissions = (Omission.model_validate(omission) for omission in evaluation.get("omissions", ()))
    return EvaluateResult(
        reused=reused,
        base_digest=evaluation["baseDigest"],
        recipe_digest=evaluation["recipeDigest"],
        weights_digest=evaluation["weightsDigest"],
        omissions=combine(folder_omissions, omissions),
        figures=figures,
    )
