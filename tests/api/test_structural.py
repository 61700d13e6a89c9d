"""What pydantic says, as the API server takes it."""

from typing import Annotated, Any

import pytest
from pydantic import ConfigDict, Field

from stockpot.api.model import DecimalString, Model, cel
from stockpot.api.structural import NotStructural, structural_schema


class Inner(Model):
    """Something within."""

    model_config = ConfigDict(json_schema_extra=cel("self.depth > 0", "dig deeper"))

    depth: int = 3


def field_of(annotation: Any, **default: Any) -> dict[str, Any]:
    model = type(
        "Outer",
        (Model,),
        {"__annotations__": {"it": annotation}, "__module__": __name__, **default},
    )
    field: dict[str, Any] = structural_schema(model)["properties"]["it"]
    return field


def test_a_reference_is_written_out() -> None:
    field = field_of(Inner)

    assert field["type"] == "object"
    assert field["properties"] == {"depth": {"type": "integer", "default": 3, "format": "int64"}}


def test_what_may_be_absent_has_no_null_and_no_default() -> None:
    assert field_of(DecimalString | None, it=None) == field_of(DecimalString)


def test_a_union_of_two_types_is_refused_with_its_path() -> None:
    with pytest.raises(NotStructural, match=r"^Outer\.it: it may be of two types"):
        field_of(int | str)


def test_a_tuple_of_several_types_is_refused_with_its_path() -> None:
    with pytest.raises(NotStructural, match=r"^Outer\.it: a structural schema has no prefixItems"):
        field_of(tuple[int, str])


def test_anything_at_all_is_refused_with_its_path() -> None:
    with pytest.raises(NotStructural, match=r"^Outer\.it\[\]: it has no one type"):
        field_of(tuple[Any, ...])


def test_a_bound_that_is_not_itself_allowed_is_written_the_old_way() -> None:
    field = field_of(Annotated[int, Field(gt=0)])

    assert (field["minimum"], field["exclusiveMinimum"]) == (0, True)


def test_the_rules_of_a_field_join_those_of_its_model() -> None:
    field = field_of(Annotated[Inner, Field(json_schema_extra=cel("self == oldSelf", "stay"))])

    messages = [rule["message"] for rule in field["x-kubernetes-validations"]]
    assert messages == ["dig deeper", "stay"]


def test_the_default_of_an_object_says_only_what_its_fields_do_not() -> None:
    assert field_of(Inner, it=Inner())["default"] == {}
    assert field_of(Inner, it=Inner(depth=4))["default"] == {"depth": 4}
