"""The admin port's JSON stays what an earlier release sent, byte by byte."""

from pathlib import Path

import pytest

from stockpot.api.model import Model
from stockpot.api.serving import Grant, ServerState

RECORDED = Path(__file__).with_name("recorded")


@pytest.mark.parametrize(("name", "model"), [("grant.json", Grant), ("state.json", ServerState)])
def test_a_recorded_message_is_sent_again_byte_by_byte(name: str, model: type[Model]) -> None:
    text = (RECORDED / name).read_text()

    assert model.model_validate_json(text).model_dump_json() == text
