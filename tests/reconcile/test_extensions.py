"""A package that brings a weighting or a method and breaks: the round gets a message, no error."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from tests.plugins import install

from stockpot import extensions
from stockpot.api.conditions import Reason
from stockpot.api.training import Named, Optimizer, Training
from stockpot.api.v1alpha1 import Evaluation
from stockpot.core.weighting import Declared, SoupMember, UnusablePlugin, weigh
from stockpot.reconcile.extensions import (
    resolve_weighting,
    unusable_evaluation,
    unusable_training,
)

BY_SIZE = """
from fractions import Fraction
class BySize:
    def __init__(self, power="1"):
        self.power = int(power)
    def step(self, members):
        return tuple(Fraction(member.records) ** self.power for member in members)
"""


@pytest.fixture(autouse=True)
def afterwards() -> Iterator[None]:
    yield
    extensions.forget()


@pytest.fixture
def patch(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    return monkeypatch


def test_a_weighting_of_another_package_weighs(patch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(patch, tmp_path, "by_size", BY_SIZE, {"stockpot.weighting": {"BySize": "BySize"}})

    weighting = resolve_weighting(Named(name="BySize", options={"power": "2"}))

    assert not isinstance(weighting, UnusablePlugin)
    members = [SoupMember("cats", Fraction(1), 3), SoupMember("dogs", Fraction(1), 5)]
    assert weigh("BySize", weighting, members) == (9, 25)


BROKEN = {
    "import": (
        "import nothing_of_that_name",
        "it cannot be loaded: ModuleNotFoundError: No module",
    ),
    "syntax": ("def", "it cannot be loaded: SyntaxError"),
    "exit": ("raise SystemExit(3)", "it cannot be loaded: SystemExit: 3"),
    "absent": ("", "it cannot be loaded: AttributeError"),
    "value": ("Broken = 3", "it cannot be made from its options {}: TypeError"),
    "raises": (
        "class Broken:\n  def __init__(self): raise ValueError('no licence')",
        "it cannot be made from its options {}: ValueError: no licence",
    ),
    "exits": (
        "class Broken:\n  def __init__(self): raise SystemExit",
        "it cannot be made from its options {}: SystemExit",
    ),
    "no-step": ("class Broken: pass", "a weighting needs the method step, and it has none"),
    "step-is-text": ("class Broken: step = 'x'", "a weighting needs the method step"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_weighting_that_breaks_on_being_loaded_is_unusable_and_says_why(
    patch: pytest.MonkeyPatch, tmp_path: Path, case: str
) -> None:
    code, words = BROKEN[case]
    name = f"broken_{case.replace('-', '_')}"
    install(patch, tmp_path, name, code, {"stockpot.weighting": {"Broken": "Broken"}})

    weighting = resolve_weighting(Named(name="Broken"))

    assert isinstance(weighting, UnusablePlugin)
    assert weighting.message.startswith(f"Broken of the package {name} cannot be used: {words}")
    assert weighting.help == f"mend or remove the package {name} ({name}:Broken)"
    assert weighting.reason is Reason.WEIGHTING_FAILED


def test_a_package_whose_metadata_is_broken_hides_no_other(
    patch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install(patch, tmp_path, "by_size", BY_SIZE, {"stockpot.weighting": {"BySize": "BySize"}})
    install(patch, tmp_path / "b", "broken_metadata", "", {})
    written = tmp_path / "b" / "broken_metadata-1.0.dist-info" / "entry_points.txt"
    written.write_text("[stockpot.weighting]\nno value\n")
    extensions.forget()

    assert not isinstance(resolve_weighting(Named(name="BySize")), UnusablePlugin)
    assert isinstance(resolve_weighting(Named(name="Declared")), Declared)


def test_an_unknown_weighting_is_answered_with_the_nearest_and_all(
    patch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install(patch, tmp_path, "by_size", BY_SIZE, {"stockpot.weighting": {"BySize": "BySize"}})

    weighting = resolve_weighting(Named(name="Declaredd"))

    assert weighting == UnusablePlugin(
        "there is no weighting Declaredd; there is BySize, Declared",
        "did you mean Declared?",
        Reason.UNKNOWN_WEIGHTING,
    )


def test_options_that_declared_does_not_have_are_refused() -> None:
    weighting = resolve_weighting(Named(name="Declared", options={"power": "2"}))

    assert weighting == UnusablePlugin(
        "Declared has no option power; it has none at all", "remove it", Reason.WEIGHTING_FAILED
    )


def test_options_that_a_package_declares_are_checked_without_loading_it(
    patch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code = (
        "import pydantic\n"
        "class Options(pydantic.BaseModel):\n"
        "  rank: int = pydantic.Field(4, ge=1)\n"
        "def __getattr__(name): raise RuntimeError('this would load torch')\n"
    )
    groups = {
        "stockpot.training": {"Lora": "Lora"},
        "stockpot.training.options": {"Lora": "Options"},
    }
    install(patch, tmp_path, "lora", code, groups)

    def message_for(**options: str) -> str:
        unusable = unusable_training(Training(method=Named(name="Lora", options=options)))
        return unusable.message if unusable else ""

    assert message_for() == message_for(rank="8") == ""
    assert message_for(rank="0") == "Lora's rank is 0; it must be at least 1"
    assert message_for(alpha="1") == "Lora has no option alpha; its options are rank"


@pytest.mark.parametrize(
    ("training", "reason", "message"),
    [
        (Training(), None, ""),
        (
            Training(method=Named(name="Lora")),
            Reason.UNKNOWN_METHOD,
            "there is no training method Lora; there is FineTune, LoRA",
        ),
        (
            Training(method=Named(name="FineTune", options={"rank": "4"})),
            Reason.BAD_RUN_SPEC,
            "FineTune has no option rank; it has none at all",
        ),
        (
            Training(optimizer=Optimizer(options={"learningRate": "0"})),
            Reason.BAD_RUN_SPEC,
            "AdamW's learningRate is 0; it must be above 0",
        ),
    ],
)
def test_a_training_that_cannot_be_is_known_before_a_pod_starts(
    training: Training, reason: Reason | None, message: str
) -> None:
    unusable = unusable_training(training)

    assert (unusable.reason, unusable.message) == (reason, message) if unusable else reason is None


@pytest.mark.parametrize(
    ("named", "reason", "message", "help_begins"),
    [
        (Named(name="style"), None, "", ""),
        (
            Named(name="contrasts"),
            Reason.UNKNOWN_EVALUATOR,
            "there is no evaluator contrasts; there is contrast, heldout_loss, samples, style",
            "did you mean contrast?",
        ),
        (
            Named(name="fid"),
            Reason.UNKNOWN_EVALUATOR,
            "there is no evaluator fid; there is contrast, heldout_loss, samples, style",
            "install a package with an entry point fid in stockpot.evaluator (on a cluster, in ",
        ),
        (
            Named(name="style", options={"count": "0"}),
            Reason.BAD_RUN_SPEC,
            "style's count is 0; it must be at least 1",
            "",
        ),
    ],
)
def test_an_evaluation_that_cannot_be_is_known_before_a_pod_starts(
    named: Named,
    reason: Reason | None,
    message: str,
    help_begins: str,
    patch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    install(patch, tmp_path, "contrast", "", {"stockpot.evaluator": {"contrast": "Contrast"}})

    unusable = unusable_evaluation(Evaluation(suite=(Named(name="contrast"), named)))

    if reason is None:
        assert unusable is None
    else:
        assert unusable is not None
        assert (unusable.reason, unusable.message) == (reason, message)
        assert unusable.help.startswith(help_begins)
