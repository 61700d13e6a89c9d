"""The source of data or of a base, as a user names it."""

import re
from typing import Annotated, ClassVar

from pydantic import StringConstraints, model_validator

from stockpot.api.model import Model, Rule

_CLAIM_NAME = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_UNREADABLE = re.compile(r"[\x00-\x1f\x7f\\]")


def _path_rules(field: str, above: str, *, leaves: str) -> tuple[Rule, ...]:
    """Return the rules of an optional field that is a relative path.

    Args:
        field: The name of the field, as users write it.
        above: The root that the path is relative to.
        leaves: The message for a path with `..`.
    """
    parts = f"self.{field}.split('/')"

    def path(model: Model) -> str:
        text: str = getattr(model, field)
        return text

    return (
        Rule(
            f"!has(self.{field}) || !{parts}.exists(part, part == '..')",
            leaves,
            lambda model: ".." not in path(model).split("/"),
            field,
        ),
        Rule(
            f"!has(self.{field}) || !self.{field}.startsWith('/')",
            f"write {field} without a leading /: it begins at the root of {above}",
            lambda model: not path(model).startswith("/"),
            field,
        ),
        Rule(
            f"!has(self.{field}) || !(self.{field}.contains('//') "
            f"|| {parts}.exists(part, part == '.'))",
            f"write {field} without . and //: the names of folders, joined by single slashes",
            lambda model: "//" not in path(model) and "." not in path(model).split("/"),
            field,
        ),
        Rule(
            f"!has(self.{field}) || !self.{field}.matches(r'[\\x00-\\x1f\\x7f\\\\]')",
            f"write {field} without backslashes and control characters: folders are joined by /",
            lambda model: not _UNREADABLE.search(path(model)),
            field,
        ),
    )


class S3Source(Model):
    """A prefix in the bucket of the soup's store."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        *_path_rules(
            "prefix",
            "the store",
            leaves="prefix may not leave the store: name a folder below its root, without ..",
        ),
        Rule(
            "!self.prefix.split('/').exists(part, size(bytes(part)) > 200)",
            "write prefix with names of at most 200 bytes between its slashes",
            lambda source: all(len(part.encode()) <= 200 for part in source.prefix.split("/")),
            "prefix",
        ),
    )

    prefix: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    """Prefix of the folder's keys, such as `data/food/`."""


class PvcSource(Model):
    """A folder on a PersistentVolumeClaim; in local mode, in a folder named with `--claim`."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        *_path_rules(
            "path",
            "the claim",
            leaves="path may not leave the claim: name a folder below its root, without ..",
        ),
        Rule(
            f"self.claimName.matches(r'^{_CLAIM_NAME}$')",
            "claimName is the name of a PersistentVolumeClaim: small letters a-z, digits, - and ., "
            "and a letter or digit at each end",
            lambda source: re.fullmatch(_CLAIM_NAME, source.claim_name) is not None,
            "claimName",
        ),
    )

    claim_name: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    path: Annotated[str, StringConstraints(max_length=512)] = ""
    """Path below the claim's root; empty for the root itself."""


class Source(Model):
    """The location of a folder: exactly one of `s3` and `pvc`."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.s3) != has(self.pvc)",
            "name exactly one source: s3: {prefix: ...} or pvc: {claimName: ..., path: ...}",
            lambda source: (source.s3 is None) != (source.pvc is None),
        ),
    )

    s3: S3Source | None = None
    pvc: PvcSource | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "Source":
        named = [name for name in ("s3", "pvc") if getattr(self, name) is not None]
        if len(named) != 1:
            listed = " and ".join(named) or "none"
            raise ValueError(f"exactly one source is needed, one of s3 and pvc; found {listed}")
        return self
