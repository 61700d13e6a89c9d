"""Where data and bases come from, as a user says it."""

from typing import Annotated

from pydantic import ConfigDict, StringConstraints, model_validator

from stockpot.api.model import Model, cel

RelativePath = Annotated[str, StringConstraints(pattern=r"^[^/].*$|^$", max_length=512)]


class S3Source(Model):
    """A prefix in the bucket of the soup's store."""

    prefix: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    """Where the folder begins, as `data/food/`."""


class PvcSource(Model):
    """A folder on a PersistentVolumeClaim; in local mode, on a folder named with `--claim`."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            "!has(self.path) || !self.path.split('/').exists(part, part == '..')",
            "path may not leave the claim: name a folder below its root, without ..",
        )
    )

    claim_name: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    path: RelativePath = ""
    """Below the claim's root; empty for the root itself."""


class Source(Model):
    """Exactly one place to read a folder from."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            "has(self.s3) != has(self.pvc)",
            "name exactly one source: s3: {prefix: ...} or pvc: {claimName: ..., path: ...}",
        )
    )

    s3: S3Source | None = None
    pvc: PvcSource | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "Source":
        named = [name for name in ("s3", "pvc") if getattr(self, name) is not None]
        if len(named) != 1:
            said = " and ".join(named) or "none"
            raise ValueError(f"exactly one source is needed, one of s3 and pvc; found {said}")
        return self
