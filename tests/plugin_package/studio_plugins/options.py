"""Options of the training method. No torch here: lint and the operator import this module."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class CrossAttentionOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    projections: Literal["all", "kv"] = "all"
