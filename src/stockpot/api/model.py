"""The manner of all our models: camelCase outside, frozen inside, nothing unknown."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints
from pydantic.alias_generators import to_camel

DecimalString = Annotated[
    str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,8})(\.[0-9]{1,9})?$", strict=True)
]
"""A non-negative decimal, written as a string: floats differ between languages, strings do not."""

DigestString = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]


class Model(BaseModel):
    """A value. Two with the same fields are the same."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
    )
