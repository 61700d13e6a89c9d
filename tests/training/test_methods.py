"""A method of another package: found by name, and named where it breaks."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.plugins import install
from tests.training.runs import Ground, a_training

from stockpot import extensions
from stockpot.api.training import Named
from stockpot.errors import ExitCode, Refused
from stockpot.training.load_method import load_method
from stockpot.training.methods import FineTune
from stockpot.training.plugin_method import PluginMethod

GROUP = "stockpot.training"
BROKEN = {
    "import": ("import nothing_of_that_name", "it cannot be loaded: ModuleNotFoundError"),
    "syntax": ("def", "it cannot be loaded: SyntaxError"),
    "exit": ("raise SystemExit(3)", "it cannot be loaded: SystemExit: 3"),
    "raises": ("def Broken(o): raise KeyError('rank')", "from its options {}: KeyError: 'rank'"),
    "no-loss": (
        "class Broken:\n  def __init__(self, options): pass\n  def trainable(self, unet): ...",
        "a training method needs the method loss, and it has none",
    ),
}


@pytest.fixture(autouse=True)
def afterwards() -> Iterator[None]:
    yield
    extensions.forget()


@pytest.mark.parametrize("case", BROKEN)
def test_a_method_that_breaks_is_named_with_its_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, case: str
) -> None:
    code, words = BROKEN[case]
    name = f"method_{case.replace('-', '_')}"
    install(monkeypatch, tmp_path, name, code, {GROUP: {"Broken": "Broken"}})

    with pytest.raises(Refused, match=f"Broken of the package {name} cannot be used") as refused:
        load_method(Named(name="Broken"))

    assert refused.value.exit_code == ExitCode.BAD_RUN_SPEC
    assert words in refused.value.message
    assert isinstance(load_method(Named(name="FineTune")), FineTune)


def test_a_method_of_another_package_is_made_from_its_options(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code = (
        "class Lora:\n"
        "  def __init__(self, options): self.options = options\n"
        "  trainable = loss = publish = print\n"
    )
    install(monkeypatch, tmp_path, "lora_method", code, {GROUP: {"Lora": "Lora"}})

    method = load_method(Named(name="Lora", options={"rank": "4"}))

    assert isinstance(method, PluginMethod)
    assert method.loaded.instance.options == {"rank": "4"}


ANSWERS = {
    "trainable-raises": ("trainable", "raise KeyError('x')", "its trainable raised KeyError: 'x'"),
    "trainable-none": ("trainable", "return None", "with at least one parameter, but a NoneType"),
    "trainable-empty": ("trainable", "return {}", "with at least one parameter, but a dict"),
    "trainable-text": ("trainable", "return {'a': 1}", "for 'a' no float parameter, but a int"),
    "trainable-strange": (
        "trainable",
        "return {'a': torch.nn.Parameter(torch.zeros(1))}",
        "its trainable returned 'a', which is no parameter of the denoiser",
    ),
    "loss-raises": ("loss", "raise SystemExit(2)", "its loss raised SystemExit: 2"),
    "loss-number": ("loss", "return 0.5", "its loss returned no float scalar, but a float"),
    "loss-vector": ("loss", "return torch.zeros(4)", "but a Tensor of shape (4,)"),
    "loss-constant": ("loss", "return torch.zeros(())", "depends on no trainable parameter"),
    "publish-raises": (
        "publish",
        "raise ValueError('full')",
        "its publish raised ValueError: full",
    ),
    "publish-none": ("publish", "return None", "no mapping of tensors, but a NoneType"),
    "publish-array": ("publish", "return {'conv_in.bias': 1}", "no tensor, but a int"),
    "publish-more": ("publish", "return {'lora': torch.zeros(1)}", "'lora', which the base's"),
    "publish-less": ("publish", "return {}", "its publish left out"),
    "publish-shape": (
        "publish",
        "return {'conv_in.bias': torch.zeros(3)}",
        "its publish returned conv_in.bias with the shape (3,), and the base's is",
    ),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_a_method_that_answers_nonsense_is_refused_with_its_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, base: Path, data: Path, case: str
) -> None:
    method, body, words = ANSWERS[case]
    name = f"answer_{case.replace('-', '_')}"
    code = (
        "import torch\n"
        "from stockpot.training.methods import FineTune\n"
        "class Odd(FineTune):\n"
        "  def __init__(self, options): pass\n"
        f"  def {method}(self, *arguments):\n    {body}\n"
    )
    install(monkeypatch, tmp_path / "package", name, code, {GROUP: {"Odd": "Odd"}})
    training = a_training(method={"name": "Odd"}, max_train_steps=1)

    with pytest.raises(Refused, match=f"Odd of the package {name} cannot be used") as refused:
        Ground(tmp_path, base, data).train(training=training)

    assert refused.value.exit_code == ExitCode.BAD_RUN_SPEC
    assert words in refused.value.message


def test_errors_of_the_machine_are_not_blamed_on_a_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, base: Path, data: Path
) -> None:
    code = (
        "from stockpot.training.methods import FineTune\n"
        "class Full(FineTune):\n"
        "  def __init__(self, options): pass\n"
        "  def loss(self, *arguments): raise OSError(28, 'No space left on device')\n"
    )
    install(monkeypatch, tmp_path / "package", "full_disk", code, {GROUP: {"Full": "Full"}})

    with pytest.raises(OSError, match="No space left"):
        Ground(tmp_path, base, data).train(training=a_training(method={"name": "Full"}))
