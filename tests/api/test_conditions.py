"""The words for how an object is."""

import re

import pytest

from stockpot.api.conditions import Condition, ConditionType, Explained, Reason, find
from stockpot.errors import ExitCode

WORDS: list[Explained] = [*ConditionType, *Reason]


@pytest.mark.parametrize("word", WORDS)
def test_every_word_is_camel_case_and_has_a_sentence(word: Explained) -> None:
    assert re.fullmatch(r"([A-Z][a-z]+)+", word)
    assert word.meaning[0].isupper()
    assert word.meaning.endswith(".")


@pytest.mark.parametrize("code", list(ExitCode))
def test_every_exit_code_has_a_sentence(code: ExitCode) -> None:
    assert code.meaning.endswith(".")


def test_a_condition_carries_its_words_as_plain_strings() -> None:
    ready = Condition(type=ConditionType.READY, status="True", reason=Reason.SETTLED)

    assert ready.model_dump(mode="json")["reason"] == "Settled"
    assert find([ready], ConditionType.READY) == ready
    assert find([ready], ConditionType.STALLED) is None


def test_a_word_of_a_newer_version_can_be_read() -> None:
    later = Condition.model_validate({"type": "Chilled", "status": "True", "reason": "WinterCame"})

    assert later.type == "Chilled"
