"""Results as the last release's pods wrote them are read, and no other kind's result is."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.builders import a_result

from stockpot.api.results import (
    RESULTS,
    InvalidResult,
    PurgeResult,
    ResultMessage,
    RunResult,
    SignResult,
    TrainResult,
    read_result,
)
from stockpot.api.run_kinds import RunKind, kind_of_run

RECORDED = Path(__file__).parent / "recorded_results"
"""Texts that workloads wrote before each kind of run had a class for its result.

Those are the texts of the code itself, but for `sign-one-receipt.json`, which is written by hand
after the code of the release before that.
"""
KINDS = [kind for kind in RunKind if kind is not RunKind.UNKNOWN]


def recorded(name: str) -> dict[str, Any]:
    text: dict[str, Any] = json.loads((RECORDED / f"{name}.json").read_text())
    return text


def read(kind: RunKind, text: dict[str, Any]) -> RunResult:
    return read_result(kind, ResultMessage.model_validate(text))


@pytest.mark.parametrize("kind", KINDS)
def test_a_recorded_result_is_read_and_written_as_it_was(kind: RunKind) -> None:
    text = recorded(kind)

    result = read(kind, text)

    assert type(result) is RESULTS[kind]
    written = json.loads(result.message().model_dump_json(by_alias=True, exclude_none=True))
    assert written == text, "an operator of the last release reads it as before"


def test_no_field_of_a_recorded_result_is_lost() -> None:
    train, purge, sign = (
        read(kind, recorded(kind)) for kind in (RunKind.TRAIN, RunKind.PURGE, RunKind.SIGN)
    )

    assert isinstance(train, TrainResult)
    assert (train.records, len(train.omissions)) == (11, 6)
    assert isinstance(purge, PurgeResult)
    assert (purge.residual_count, purge.locked_count, len(purge.residuals)) == (6, 6, 3)
    assert isinstance(sign, SignResult)
    assert [receipt.shard for receipt in sign.receipts] == [
        receipt["shard"] for receipt in recorded("sign")["receipts"]
    ]


def test_a_sign_run_that_wrote_one_receipt_without_naming_its_shard_is_read() -> None:
    result = read(RunKind.SIGN, recorded("sign-one-receipt"))

    assert isinstance(result, SignResult)
    [receipt] = result.receipts
    assert (receipt.shard, receipt.sequence, receipt.missing) == ("", 4, 1)
    assert result.missing[receipt.missing_named[0]] == "UnreachableNode: pets-0 may still run"


@pytest.mark.parametrize("expected", KINDS)
@pytest.mark.parametrize("actual", KINDS)
def test_the_result_of_another_kind_of_run_is_refused(expected: RunKind, actual: RunKind) -> None:
    if expected is actual:
        return

    with pytest.raises(InvalidResult, match=f"not one of a {expected} run"):
        read(expected, recorded(actual))


@pytest.mark.parametrize(
    ("name", "kind", "key"),
    [
        ("purge", RunKind.PURGE, "residuals"),
        ("purge", RunKind.PURGE, "locked"),
        ("rescan", RunKind.RESCAN, "residuals"),
        ("merge", RunKind.MERGE, "way"),
        ("merge", RunKind.MERGE, "readBytes"),
        ("serve", RunKind.SERVE, "images"),
        ("sign-one-receipt", RunKind.SIGN, "residuals"),
        ("sign-one-receipt", RunKind.SIGN, "missing"),
    ],
)
def test_a_misspelt_figure_is_refused(name: str, kind: RunKind, key: str) -> None:
    text = recorded(name)
    text["figures"][f"{key}Count"] = text["figures"].pop(key)

    with pytest.raises(InvalidResult):
        read(kind, text)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (kind, name)
        for kind in KINDS
        for name, field in RESULTS[kind].model_fields.items()
        if field.is_required()
    ],
)
def test_a_missing_field_is_refused_by_its_name(kind: RunKind, name: str) -> None:
    result = RESULTS[kind]
    text = recorded(kind)
    key = result.FIGURES.get(name)
    if key:
        del text["figures"][key]
    else:
        del text[ResultMessage.model_fields[name].alias or name]

    with pytest.raises(InvalidResult) as caught:
        read(kind, text)

    field = f"figures.{key}" if key else ResultMessage.model_fields[name].alias or name
    assert f"run: {field}: " in caught.value.message
    assert caught.value.help


def test_a_figure_that_is_no_number_is_refused() -> None:
    text = recorded("purge")
    text["figures"]["residuals"] = "none"

    with pytest.raises(InvalidResult, match=r"figures\.residuals"):
        read(RunKind.PURGE, text)


def test_a_receipt_that_names_a_missing_thing_which_is_not_listed_is_refused() -> None:
    text = recorded("sign")
    text["receipts"][0]["missingNamed"] = [99]

    with pytest.raises(InvalidResult, match="missingNamed"):
        read(RunKind.SIGN, text)


def test_a_run_of_a_newer_release_has_a_kind_and_its_result_is_refused() -> None:
    kind = kind_of_run("distil", ["uid-dogs"])

    assert kind is RunKind.UNKNOWN
    with pytest.raises(InvalidResult, match="not known"):
        read(kind, recorded("train"))


def test_a_purge_without_a_shard_is_a_rescan_and_no_verb_is_called_so() -> None:
    assert kind_of_run("purge", []) is RunKind.RESCAN
    assert kind_of_run("purge", ["uid-dogs"]) is RunKind.PURGE
    assert kind_of_run("rescan", []) is RunKind.UNKNOWN


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not RunKind.SIGN])
def test_what_is_written_is_read_again(kind: RunKind) -> None:
    result = a_result(kind)

    assert read_result(kind, result.message()) == result
