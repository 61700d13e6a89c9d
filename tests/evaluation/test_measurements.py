"""Figures, their uncertainty, and differences in pairs."""

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockpot.errors import ExitCode, Refused
from stockpot.evaluation.measurements import Measurement, paired_difference, require_numbers

VALUES = st.floats(-1e6, 1e6)


def test_a_figure_is_the_mean_with_its_standard_error() -> None:
    figure = Measurement({"a": 1.0, "b": 2.0, "c": 6.0})

    assert figure.value == 3
    assert figure.standard_error == pytest.approx(statistics.stdev([1, 2, 6]) / math.sqrt(3))
    low, high = figure.interval95 or (0, 0)
    assert (low + high) / 2 == pytest.approx(3)


def test_a_single_item_has_no_uncertainty_to_speak_of() -> None:
    figure = Measurement({"a": 1.0})

    assert (figure.standard_error, figure.interval95) == (None, None)


def test_what_varies_between_items_goes_out_of_a_paired_difference() -> None:
    before = Measurement({str(at): float(at) for at in range(50)})
    after = Measurement({name: value + 0.5 for name, value in before.items.items()})

    difference = paired_difference(after, before)

    assert difference.value == pytest.approx(0.5)
    assert difference.standard_error == pytest.approx(0)
    assert (before.standard_error or 0) > 1


def test_only_items_that_both_have_are_compared() -> None:
    difference = paired_difference(
        Measurement({"a": 3.0, "b": 9.0}), Measurement({"a": 1.0, "c": 7.0})
    )

    assert difference == Measurement({"a": 2.0})


def test_figures_of_different_items_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="no item in common"):
        paired_difference(Measurement({"a": 3.0}), Measurement({"b": 1.0}))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_refused_by_name(value: float) -> None:
    with pytest.raises(Refused, match=r"loss of cat\.png") as refused:
        require_numbers("loss", Measurement({"dog.png": 1.0, "cat.png": value}))

    assert refused.value.exit_code == ExitCode.BAD_WEIGHTS


@given(items=st.dictionaries(st.text(max_size=5), VALUES, min_size=1, max_size=20))
def test_a_figure_is_read_back_as_it_was(items: dict[str, float]) -> None:
    figure = Measurement(items)

    assert Measurement.from_json(figure.to_json()) == figure
