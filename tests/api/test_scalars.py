"""Unquoted scalars are read as kubectl reads them: the right column is what kubectl 1.36 prints."""

import math
from typing import Any

import pytest

from stockpot.api import scalars
from stockpot.api.documents import NotYaml, documents

READ: dict[str, Any] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "on", "On", "true", "True", "TRUE"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "off", "OFF", "false"), False),
    **dict.fromkeys(("~", "null", "Null", "NULL"), None),
    **{
        word: word
        for word in ("yEs", "nULL", "tRue", "nan", "inf", "1e", "e1", "0x", "0b12", "--1")
    },
    "0": 0,
    "-0": 0,
    "00": 0,
    "010": 8,
    "0o10": 8,
    "0O10": 8,
    "08": 8,
    "0o19": "0o19",
    "0x1F": 31,
    "0X1f": 31,
    "0b11": 3,
    "-0b11": -3,
    "+5": 5,
    "-5": -5,
    "1_000": 1000,
    "1_": 1,
    "1__0": 10,
    "_1": "_1",
    "1_000.5": 1000.5,
    ".1_5": 0.15,
    "1:30": "1:30",
    "-1:30": "-1:30",
    "190:20:30.15": "190:20:30.15",
    "1e3": 1000,
    "1E3": 1000,
    "1e-4": 0.0001,
    "-1e-4": -0.0001,
    "1.e3": 1000,
    "12e03": 12000,
    "1.": 1,
    "0.": 0,
    "0.0": 0,
    "-0.0": 0,
    "1.0": 1,
    "1.5": 1.5,
    "09.5": 9.5,
    "5.0e-1": 0.5,
    ".5": 0.5,
    "-.5": -0.5,
    "+.5": 0.5,
    ".5e3": 500,
    "1.5e+3": 1500,
    ".": ".",
    "..": "..",
    "1e400": "1e400",
    "1e-400": 0,
    "1e20": 10**20,
    "1e21": 1e21,
    "1" * 5000: "1" * 5000,
    "9223372036854775807": 2**63 - 1,
    "9223372036854775808": 2**63,
    "99999999999999999999": 10**20,
    f"0x{'f' * 40}": f"0x{'f' * 40}",
    "2026-11-22": "2026-11-22",
    "2026-11-22T12:00:00Z": "2026-11-22T12:00:00Z",
    "=": "=",
    ".inf": math.inf,
    "-.INF": -math.inf,
    "+.Inf": math.inf,
}


@pytest.mark.parametrize("text", READ)
def test_a_scalar_is_what_kubectl_makes_of_it(text: str) -> None:
    [document] = documents(f"value: {text}\n", "food.yaml")

    value = document.value["value"]

    assert (value, type(value)) == (READ[text], type(READ[text]))


def test_what_is_no_number_is_not_a_number() -> None:
    assert math.isnan(scalars.value_of(".nan", scalars.FLOAT))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('"5"', "5"),
        ("'yes'", "yes"),
        ("!!str 5", "5"),
        ('!!int "5"', 5),
        ("!!float 1", 1),
        ('!!bool "yes"', True),
        ("!!timestamp 2026-11-22", "2026-11-22"),
        ('"\\u0041"', "A"),
    ],
)
def test_quotes_and_tags_say_which_type_is_meant(text: str, value: Any) -> None:
    [document] = documents(f"value: {text}\n", "food.yaml")

    assert document.value == {"value": value}
    assert type(document.value["value"]) is type(value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("!!int x", "x is no int"),
        ("!!int 1.5", "1.5 is no int"),
        ("!!float x", "x is no float"),
        ("!!bool maybe", "maybe is no bool"),
        ("!!null x", "x is no null"),
        ("!!float {a: 1}", "a mapping or sequence is no float"),
        ("!!null [1]", "a mapping or sequence is no null"),
        ("{!!bool maybe: 1}", "maybe is no bool"),
        ("!!timestamp {a: 1}", "expected a scalar node"),
        ("!!binary aGk=", "could not determine a constructor"),
        ('"\\ud800"', "half of a character"),
        ('"\\ud83d\\ude00"', "half of a character"),
    ],
)
def test_a_value_that_is_none_of_its_type_is_refused_with_its_line(text: str, says: str) -> None:
    with pytest.raises(NotYaml, match=says) as caught:
        list(documents(f"a: 1\nvalue: {text}\n", "food.yaml"))

    assert caught.value.place == "food.yaml:2"
