"""The verb, on a tiny base and a real folder store."""

import io
import json
import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests import tiny
from tests.diffusion.pictures import animated
from tests.plugins import install
from tests.serving.server_fixtures import KEYS, SOUP, RevisionStore, a_revision_store

from stockpot import extensions
from stockpot.api.manifest import ArtefactKind, Manifest
from stockpot.api.results import EvaluateResult
from stockpot.api.runspec import EvaluateRun, Location, Place, RevisionRef
from stockpot.api.training import Named
from stockpot.errors import ExitCode, Refused, StockpotError
from stockpot.evaluation.measurements import Measurement, paired_difference
from stockpot.evaluation.run import run
from stockpot.evaluation.suite import load_suite
from stockpot.metrics.progress import Progress
from stockpot.store.artefacts import is_complete, read_manifest

GROUP = "stockpot.evaluator"
RECORDS = 5
SUITE = (
    Named(name="heldout_loss", options={"levels": "2"}),
    Named(name="style", options={"count": "3", "steps": "1"}),
    Named(name="samples", options={"rows": "2", "columns": "2", "steps": "1"}),
)

Evaluate = Callable[..., EvaluateResult]


@pytest.fixture(autouse=True)
def afterwards() -> Iterator[None]:
    yield
    extensions.forget()


@pytest.fixture(scope="module")
def revisions(tmp_path_factory: pytest.TempPathFactory) -> RevisionStore:
    revisions = a_revision_store(tmp_path_factory.mktemp("revisions"))
    tiny.some_data(revisions.root / "held-out", n=RECORDS, seed=5)
    return revisions


@pytest.fixture
def evaluate(revisions: RevisionStore, tmp_path: Path) -> Evaluate:
    def evaluate(revision: RevisionRef, **fields: Any) -> EvaluateResult:
        defaults: dict[str, Any] = {
            "name": "evaluate",
            "store": revisions.ref,
            "soup": SOUP,
            "revision": revision,
            "base": revisions.base_ref,
            "held_out": Location(place=Place.FOLDER, path=str(revisions.root / "held-out")),
            "suite": SUITE,
            "resolution": tiny.RESOLUTION,
        }
        stop = fields.pop("stop", threading.Event())
        spec = EvaluateRun(**{**defaults, **fields})
        return run(spec, work=tmp_path, progress=Progress(), stop=stop)

    return evaluate


def folder_of(revision: RevisionRef) -> str:
    return KEYS.evaluation(SOUP.uid, revision.recipe_digest)


def evaluation_of(revisions: RevisionStore, revision: RevisionRef) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        revisions.store.get(folder_of(revision) + "evaluation.json") or b""
    )
    return content


def manifest_of(revisions: RevisionStore, revision: RevisionRef) -> Manifest:
    manifest = read_manifest(revisions.store, folder_of(revision))
    assert manifest is not None
    return manifest


def test_figures_and_samples_lie_beside_the_revision_with_its_lineage(
    revisions: RevisionStore, evaluate: Evaluate, tmp_path: Path
) -> None:
    revision = revisions.publish("one", seed=1)

    result = evaluate(revision)

    manifest = manifest_of(revisions, revision)
    assert manifest.kind is ArtefactKind.EVALUATION
    assert manifest.lineage == revision.lineage
    assert is_complete(manifest)
    evaluation = evaluation_of(revisions, revision)
    assert evaluation["weightsDigest"] == revision.weights_digest
    assert set(evaluation["metrics"]) == {"heldout_loss", "saturation_mean", "dark_share"}
    assert len(evaluation["metrics"]["heldout_loss"]["items"]) == RECORDS
    assert len(evaluation["metrics"]["saturation_mean"]["items"]) == 3
    sheet = Image.open(io.BytesIO(revisions.store.get(folder_of(revision) + "samples.png") or b""))
    assert sheet.format == "PNG"
    assert result.figures["heldout_loss"] == f"{evaluation['metrics']['heldout_loss']['value']:.6f}"
    assert not (tmp_path / "evaluate").exists()


def test_an_evaluation_is_reused(revisions: RevisionStore, evaluate: Evaluate) -> None:
    revision = revisions.publish("twice", seed=2)
    first = evaluate(revision)

    again = evaluate(revision)

    assert (first.reused, again.reused) == (False, True)
    assert again.figures == first.figures


def test_another_suite_is_evaluated_anew(revisions: RevisionStore, evaluate: Evaluate) -> None:
    revision = revisions.publish("asked", seed=3)
    evaluate(revision)

    other = evaluate(revision, suite=SUITE[:1])

    assert not other.reused
    assert set(other.figures) == {"heldout_loss"}
    assert manifest_of(revisions, revision).files == ("evaluation.json",)


def test_the_same_weights_have_the_same_figures(
    revisions: RevisionStore, evaluate: Evaluate
) -> None:
    first, second = revisions.publish("here", seed=4), revisions.publish("there", seed=4)
    evaluate(first)
    evaluate(second)

    assert first.recipe_digest != second.recipe_digest
    assert evaluation_of(revisions, first)["metrics"] == evaluation_of(revisions, second)["metrics"]


def test_two_revisions_are_compared_record_by_record(
    revisions: RevisionStore, evaluate: Evaluate
) -> None:
    near, far = revisions.publish("near", scale=0.0), revisions.publish("far", scale=0.05)
    evaluate(near, suite=SUITE[:1])
    evaluate(far, suite=SUITE[:1])

    high, low = (
        Measurement.from_json(evaluation_of(revisions, revision)["metrics"]["heldout_loss"])
        for revision in (far, near)
    )

    assert len(paired_difference(high, low).items) == RECORDS


def test_a_record_more_leaves_the_losses_of_the_others_alone(
    revisions: RevisionStore, evaluate: Evaluate, tmp_path: Path
) -> None:
    revision = revisions.publish("growing", seed=5)
    less, more = (tiny.some_data(tmp_path / f"of-{count}", n=count, seed=6) for count in (3, 4))
    losses: list[Mapping[str, float]] = []
    for folder in (less, more):
        place = Location(place=Place.FOLDER, path=str(folder))
        evaluate(revision, suite=SUITE[:1], held_out=place)
        losses.append(evaluation_of(revisions, revision)["metrics"]["heldout_loss"]["items"])

    assert len(losses[1]) == 4
    assert {name: losses[1][name] for name in losses[0]} == pytest.approx(losses[0], rel=1e-5)


def test_unused_held_out_data_is_counted_and_named(
    revisions: RevisionStore, evaluate: Evaluate, tmp_path: Path
) -> None:
    revision = revisions.publish("counted", seed=9)
    folder = tiny.some_data(tmp_path / "held-out", n=3, seed=6)
    (folder / "0000.png").write_bytes(animated("GIF"))
    (folder / "unlisted.png").write_bytes(b"x")
    with (folder / "metadata.jsonl").open("a") as metadata:
        line = {"file_name": "0001.png", "text": "a big red circle a big blue square"}
        metadata.write(json.dumps(line) + "\n")
    place = Location(place=Place.FOLDER, path=str(folder))

    first = evaluate(revision, suite=SUITE[:1], held_out=place)
    again = evaluate(revision, suite=SUITE[:1], held_out=place)

    assert {omission.reason: omission.examples for omission in first.omissions} == {
        "UnlistedPicture": ("unlisted.png",),
        "ExtraFrames": ("0000.png",),
        "CutCaption": (f"0001.png (10 tokens, of which {tiny.PROMPT_TOKENS} are read)",),
    }
    assert again.reused
    assert again.omissions == first.omissions


def test_prompts_may_be_given_in_place_of_records(
    revisions: RevisionStore, evaluate: Evaluate
) -> None:
    revision = revisions.publish("prompted", seed=6)
    prompts = {"prompts": "a red circle|a blue bar", "steps": "1"}
    suite = (
        Named(name="style", options={**prompts, "count": "2"}),
        Named(name="samples", options={**prompts, "columns": "1"}),
    )

    evaluate(revision, suite=suite, held_out=None)

    items = evaluation_of(revisions, revision)["metrics"]["dark_share"]["items"]
    assert list(items) == ["a red circle #0", "a blue bar #1"]


@pytest.mark.parametrize(
    ("suite", "because"),
    [
        ((Named(name="beauty"),), "There is no evaluator beauty; there is heldout_loss, samples"),
        ((Named(name="style", options={"count": "0"}),), "style's count is 0; it must be at least"),
        ((Named(name="style", options={"colour": "red"}),), "style has no option colour; its"),
        ((Named(name="style"),), "style has no prompts"),
        ((Named(name="heldout_loss"),), "needs held-out records"),
        ((Named(name="style", options={"prompts": "a"}),) * 2, "style is in the suite twice"),
    ],
)
def test_a_bad_suite_is_refused(
    revisions: RevisionStore, evaluate: Evaluate, suite: tuple[Named, ...], because: str
) -> None:
    revision = revisions.publish("unasked", seed=7)

    with pytest.raises(Refused, match=because) as refused:
        evaluate(revision, suite=suite, held_out=None)

    assert refused.value.exit_code == ExitCode.BAD_RUN_SPEC
    assert read_manifest(revisions.store, folder_of(revision)) is None


def test_a_forgotten_shard_is_not_evaluated(revisions: RevisionStore, evaluate: Evaluate) -> None:
    revision = revisions.publish("forgotten", seed=8)
    revisions.forget("forgotten")

    with pytest.raises(Refused) as refused:
        evaluate(revision)

    assert refused.value.exit_code == ExitCode.FORGOTTEN
    assert read_manifest(revisions.store, folder_of(revision)) is None


def test_a_shard_that_is_forgotten_meanwhile_leaves_nothing(
    revisions: RevisionStore, evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    revision = revisions.publish("meanwhile", seed=9)

    class Forgetful:
        """An evaluator that deletes the shard meanwhile."""

        def evaluate(self, subject: object) -> object:
            from stockpot.evaluation.evaluator import EvaluatorResult

            revisions.forget("meanwhile")
            return EvaluatorResult()

    module = types.ModuleType("forgetful")
    module.Forgetful = Forgetful  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "forgetful", module)
    install(monkeypatch, tmp_path, "forgetful", "", {GROUP: {"forgetful": "Forgetful"}})

    with pytest.raises(Refused) as refused:
        evaluate(revision, suite=(Named(name="forgetful"),))

    assert refused.value.exit_code == ExitCode.FORGOTTEN
    assert list(revisions.store.list(folder_of(revision))) == []


BROKEN = {
    "import": ("import nothing_of_that_name", "it cannot be loaded: ModuleNotFoundError"),
    "exit": ("raise SystemExit(3)", "it cannot be loaded: SystemExit: 3"),
    "raises": (
        "class Broken:\n  def __init__(self): raise OSError('no model')",
        "it cannot be made from its options {}: OSError: no model",
    ),
    "no-method": ("class Broken: pass", "an evaluator needs the method evaluate, and it has none"),
    "option": ("class Broken:\n  def __init__(self): pass\n", "TypeError"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_an_evaluator_of_another_package_that_breaks_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, case: str
) -> None:
    code, words = BROKEN[case]
    name = f"evaluator_{case.replace('-', '_')}"
    install(monkeypatch, tmp_path, name, code, {GROUP: {"Broken": "Broken"}})
    options = {"size": "3"} if case == "option" else {}

    with pytest.raises(Refused, match=f"Broken of the package {name} cannot be used") as refused:
        load_suite([Named(name="Broken", options=options)], has_records=True)

    assert refused.value.exit_code == ExitCode.BAD_RUN_SPEC
    assert words in refused.value.message


ANSWERS = {
    "raises": ("raise KeyError('x')", "its evaluate raised KeyError: 'x'"),
    "exits": ("raise SystemExit", "its evaluate raised SystemExit"),
    "none": ("return None", "its evaluate returned no EvaluatorResult, but a NoneType"),
    "number": ("return EvaluatorResult({'a': 1.0})", "the figure a as a float, which is no"),
    "empty": ("return EvaluatorResult({'a': Measurement({})})", "the figure a without any item"),
    "text": ("return EvaluatorResult({'a': Measurement({'x': 'y'})})", "a of 'x' as a str"),
    "bool": ("return EvaluatorResult({'a': Measurement({'x': True})})", "a of 'x' as a bool"),
    "list": ("return EvaluatorResult([1])", "figures that are no mapping, but a list"),
    "path": ("return EvaluatorResult(files={'../a': b''})", "a file called '../a', which is no"),
    "ours": ("return EvaluatorResult(files={'evaluation.json': b''})", "which Stockpot writes"),
    "file-text": ("return EvaluatorResult(files={'a.txt': 'a'})", "as a str, which is not bytes"),
    "omissions": ("return EvaluatorResult(omissions=('a',))", "omissions that are no tuple of"),
    "lineage": ("return EvaluatorResult(fitted_on=['a'])", "fitted_on that are no tuple of"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_an_evaluator_that_answers_nonsense_is_refused_with_its_package(
    revisions: RevisionStore,
    evaluate: Evaluate,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    case: str,
) -> None:
    body, words = ANSWERS[case]
    name = f"answer_{case.replace('-', '_')}"
    code = (
        "from stockpot.evaluation.evaluator import EvaluatorResult\n"
        "from stockpot.evaluation.measurements import Measurement\n"
        f"class Odd:\n  def evaluate(self, revision):\n    {body}\n"
    )
    install(monkeypatch, tmp_path / "package", name, code, {GROUP: {"Odd": "Odd"}})
    revision = revisions.publish(f"odd-{case}", seed=12)

    with pytest.raises(Refused, match=f"Odd of the package {name} cannot be used") as refused:
        evaluate(revision, suite=(Named(name="Odd"),))

    assert refused.value.exit_code == ExitCode.BAD_RUN_SPEC
    assert words in refused.value.message
    assert list(revisions.store.list(folder_of(revision))) == []


def test_two_evaluators_of_one_figure_are_refused(
    revisions: RevisionStore, evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code = (
        "from stockpot.evaluation.measurements import Measurement\n"
        "from stockpot.evaluation.evaluator import EvaluatorResult\n"
        "class Same:\n"
        "  def evaluate(self, revision):\n"
        "    return EvaluatorResult({'beauty': Measurement({'a': 1.0})})\n"
    )
    install(monkeypatch, tmp_path / "p", "same", code, {GROUP: {"one": "Same", "two": "Same"}})
    revision = revisions.publish("twice", seed=11)

    with pytest.raises(Refused, match="Two evaluators of the suite give the figure beauty"):
        evaluate(revision, suite=(Named(name="one"), Named(name="two")))


def test_edited_weights_are_not_evaluated(revisions: RevisionStore, evaluate: Evaluate) -> None:
    revision = revisions.publish("edited", seed=10)
    file = revisions.weights_file(revision)
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")

    with pytest.raises(Refused) as refused:
        evaluate(revision)

    assert refused.value.exit_code == ExitCode.BAD_WEIGHTS


def test_an_evaluation_that_is_asked_to_end_publishes_nothing(
    revisions: RevisionStore, evaluate: Evaluate
) -> None:
    revision = revisions.publish("ended", seed=11)
    stop = threading.Event()
    stop.set()

    with pytest.raises(StockpotError) as ended:
        evaluate(revision, stop=stop)

    assert ended.value.exit_code == ExitCode.INTERRUPTED
    assert read_manifest(revisions.store, folder_of(revision)) is None


@pytest.mark.parametrize("evaluator", ["samples", "style"])
def test_a_prompt_beyond_the_text_encoders_window_is_refused_by_name(
    revisions: RevisionStore, evaluate: Evaluate, evaluator: str
) -> None:
    revision = revisions.publish(f"long-{evaluator}")
    prompts = "a red bar|a big red circle cat"
    suite = (Named(name=evaluator, options={"prompts": prompts, "steps": "1"}),)

    with pytest.raises(Refused, match=f"The prompt of {evaluator} 'a big red circle cat' has 7"):
        evaluate(revision, suite=suite)
