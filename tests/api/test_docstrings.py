"""Docstrings of fields are read from the source, as pydantic would read them."""

import pytest
from pydantic import BaseModel
from pydantic._internal._docs_extraction import extract_docstrings_from_cls

from stockpot.api import v1alpha1
from stockpot.api.docstrings import field_docstrings
from stockpot.api.results import SignResult
from stockpot.cluster.chart.values import Values

MODELS: tuple[type[BaseModel], ...] = (
    *(v1alpha1.DataShardSpec, v1alpha1.DataShardStatus, v1alpha1.SoupSpec, v1alpha1.SoupStatus),
    *(v1alpha1.UnlearningReceiptSpec, v1alpha1.LostShard, Values),
)


@pytest.mark.parametrize("model", MODELS)
def test_they_are_those_that_pydantic_reads(model: type[BaseModel]) -> None:
    own = extract_docstrings_from_cls(model, use_inspect=True)

    assert own
    assert {name: field_docstrings(model)[name] for name in own} == own


def test_those_of_a_base_class_are_inherited() -> None:
    assert field_docstrings(SignResult)["reused"].startswith("Whether an earlier run")


def test_a_schema_has_them_under_the_fields_alias() -> None:
    schema = v1alpha1.DataShardSpec.model_json_schema(by_alias=True)

    assert schema["properties"]["expireAt"]["description"].startswith("When the shard is unlearned")
