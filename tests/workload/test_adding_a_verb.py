"""A new verb is one RunSpec, one result and one module: every table has an entry for each."""

import importlib.util
from typing import get_args

import pytest
from tests.builders import a_result
from tests.cluster.test_jobs import EVERY_RUN

from stockpot.api.results import RESULTS
from stockpot.api.run_kinds import RunKind
from stockpot.api.runspec import RUN_SPECS, RunSpec, kind_of_spec
from stockpot.core.run_starts import Start
from stockpot.errors import StockpotError
from stockpot.reconcile.run_specs import BUILDERS
from stockpot.workload.main import VERBS, require_own_result

KINDS = set(RunKind) - {RunKind.UNKNOWN}


def test_every_run_spec_has_a_module_and_an_example_here() -> None:
    assert set(VERBS) == set(RUN_SPECS) == {spec.verb for spec in EVERY_RUN} | {"serve"}
    assert all(importlib.util.find_spec(module) for module in VERBS.values())


def test_every_kind_of_run_has_a_result_and_what_ends_can_be_started() -> None:
    assert set(RESULTS) == KINDS
    assert {start.kind for start in get_args(Start)} == KINDS - {RunKind.SERVE}
    assert set(BUILDERS) == set(get_args(Start))


@pytest.mark.parametrize("spec", EVERY_RUN, ids=lambda spec: spec.verb)
def test_the_kind_of_a_run_is_read_from_its_json(spec: RunSpec) -> None:
    assert kind_of_spec(spec.model_dump(mode="json", by_alias=True)) is spec.kind


@pytest.mark.parametrize("start", get_args(Start))
def test_what_a_deletion_needs_runs_with_the_identity_that_deletes(start: type[Start]) -> None:
    verb = "purge" if start.kind is RunKind.RESCAN else start.kind

    assert RUN_SPECS[verb].deletes is start.is_owed


@pytest.mark.parametrize("spec", EVERY_RUN, ids=lambda spec: spec.verb)
def test_a_verb_that_answers_with_another_kinds_result_fails(spec: RunSpec) -> None:
    others = KINDS - {spec.kind, RunKind.SIGN}

    for kind in others:
        with pytest.raises(StockpotError, match=f"a {spec.kind} run answered with a "):
            require_own_result(spec, a_result(kind))
