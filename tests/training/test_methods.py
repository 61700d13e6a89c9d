"""A method of another package: found by name, and named where it breaks."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.plugins import install

from stockpot import extensions
from stockpot.api.training import Named
from stockpot.errors import ExitCode, Refused
from stockpot.training.methods import FineTune, find_method

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
        find_method(Named(name="Broken"))

    assert refused.value.exit_code == ExitCode.BAD_RUN_SPEC
    assert words in refused.value.message
    assert isinstance(find_method(Named(name="FineTune")), FineTune)


def test_a_method_of_another_package_is_made_from_its_options(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code = (
        "class Lora:\n"
        "  def __init__(self, options): self.options = options\n"
        "  trainable = loss = publish = print\n"
    )
    install(monkeypatch, tmp_path, "lora_method", code, {GROUP: {"Lora": "Lora"}})

    method = find_method(Named(name="Lora", options={"rank": "4"}))

    assert method.options == {"rank": "4"}  # type: ignore[attr-defined]
