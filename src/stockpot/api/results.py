"""The result of a run: a class for each kind of run, and the JSON form of all results.

The JSON is a ResultMessage, the same as in the releases before there was a class for each kind: an
operator reads the results of older pods, and an older operator those of newer pods. It has a field
for everything that any run reports, and its `figures` are strings. `read_result` checks it against
the kind of the run: a field or figure that is missing, misspelt or another kind's is an error.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Self, get_args

import pydantic
from pydantic import Field, model_validator
from pydantic.alias_generators import to_camel

from stockpot.api.model import DigestString, Model
from stockpot.api.omissions import Omissions
from stockpot.api.run_kinds import RunKind
from stockpot.errors import StockpotError


class Problem(Model):
    """Why a run failed."""

    exit_code: int
    message: str
    help: str = ""


class SharedRecords(Model):
    """The records that another shard has as well."""

    shard: str
    """UID of the other shard."""
    records: int = Field(ge=1)
    """Number of records of the compared shard whose picture the other one has."""


class SignedReceipt(Model):
    """A receipt that a sign run wrote, or that it read because an earlier run had written it."""

    shard: str
    """UID; where records left a shard, with a dot and the beginning of the training key. Empty in
    results of releases that signed one receipt a run: then it is the run's only shard."""
    sequence: int
    digest: DigestString
    previous: DigestString | None = None
    """Digest of the chain's entry before it; left out where that entry stands in the same list."""
    signed_at: str
    """Time of the signature in the receipt (RFC 3339)."""
    residuals: int = 0
    """Number of objects left in the store: of unknown lineage, or kept by a lock."""
    missing: int = 0
    """Number of items that could not be confirmed."""
    missing_named: tuple[int, ...] = ()
    """Positions of these items in the result's `missing`; the receipt names them all."""
    kept_digests: int | None = None
    """Number of keyed digests of records that are kept of the unlearning; None without a list."""
    survives_in: tuple[SharedRecords, ...] = Field(default=(), exclude_if=lambda all_: not all_)
    """Some of the living shards that have records of the unlearned one."""
    survives_in_count: int = Field(default=0, exclude_if=lambda count: not count)
    """Number of these shards; the receipt names them all."""


class ResultMessage(Model):
    """The JSON form of every result: a pod's termination message, at most 4,096 bytes."""

    problem: Problem | None = None
    """The reason of the failure; unset if the run succeeded."""
    reused: bool = False
    base_digest: DigestString | None = None
    data_digest: DigestString | None = None
    records: int | None = None
    training_key: DigestString | None = None
    weights_digest: DigestString | None = None
    size_bytes: int | None = None
    recipe_digest: DigestString | None = None
    receipts: tuple[SignedReceipt, ...] = ()
    receipt_sequence: int | None = None
    """Written by releases before `receipts`, whose sign runs wrote one receipt each."""
    receipt_digest: DigestString | None = None
    """Written by the same releases."""
    signed_at: str | None = None
    """Written by the same releases."""
    purged_objects: int | None = None
    purged_bytes: int | None = None
    inventory_digest: DigestString | None = None
    unrecorded_receipts: tuple[int, ...] = ()
    missing: tuple[str, ...] = ()
    residuals: tuple[str, ...] = ()
    shared: tuple[SharedRecords, ...] = Field(default=(), exclude_if=lambda shared: not shared)
    similar: tuple[SharedRecords, ...] = Field(default=(), exclude_if=lambda all_: not all_)
    returning: tuple[SharedRecords, ...] = Field(default=(), exclude_if=lambda all_: not all_)
    unknown: tuple[str, ...] = Field(default=(), exclude_if=lambda unknown: not unknown)
    omissions: Omissions = Field(default=(), exclude_if=lambda omissions: not omissions)
    figures: dict[str, str] = Field(default_factory=dict)


class InvalidResult(StockpotError):
    """A result that its kind of run cannot have."""


class _Result(Model):
    """The base of all results. Its fields are fields of the message, or figures of it."""

    KIND: ClassVar[RunKind]
    FIGURES: ClassVar[Mapping[str, str]] = {}
    """The key among the message's figures, by name of the field."""
    LATER_FIGURES: ClassVar[frozenset[str]] = frozenset()
    """Fields that the last release does not know: they are written where they are not 0."""

    reused: bool = False
    """Whether an earlier run of the same name had done the work."""

    @classmethod
    def from_message(cls, message: ResultMessage) -> Self:
        """Read a message as this kind of result.

        Raises:
            pydantic.ValidationError: A field is missing, or one of another kind is there.
        """
        fields: dict[str, Any] = {
            name: value
            for name, value in message
            if value != type(message).model_fields[name].get_default(call_default_factory=True)
        }
        figures = dict(fields.pop("figures", {}))
        for name, key in cls.FIGURES.items():
            if key in figures:
                fields[name] = figures.pop(key)
        if figures:
            # A class without free figures refuses them as an unknown field, by their keys.
            has_figures = "figures" in cls.model_fields
            fields |= {"figures": figures} if has_figures else _named_figures(figures)
        return cls.model_validate(fields)

    def message(self) -> ResultMessage:
        """Write this result in the form that is read by every release."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        figures = dict(fields.pop("figures", {}))
        for name, key in self.FIGURES.items():
            value = fields.pop(name)
            if value is not None and (value or name not in self.LATER_FIGURES):
                figures[key] = str(value)
        return ResultMessage(**fields, figures=figures)


def _named_figures(figures: Mapping[str, str]) -> dict[str, str]:
    return {f"figures.{key}": value for key, value in figures.items()}


class TrainResult(_Result):
    """The ingredient that a training made of a shard."""

    KIND = RunKind.TRAIN

    base_digest: DigestString
    data_digest: DigestString
    records: int
    training_key: DigestString
    weights_digest: DigestString
    size_bytes: int
    omissions: Omissions = ()
    """Data that was not used exactly as given: counts by reason, with a few names each."""
    figures: dict[str, str] = Field(default_factory=dict)
    """Measured values for people, as decimal strings: `final_loss`, `steps`, `seconds`."""


class MergeResult(_Result):
    """The revision that a merge made of a recipe."""

    KIND = RunKind.MERGE
    FIGURES: ClassVar = {
        "seconds": "seconds",
        "way": "way",
        "read_bytes": "readBytes",
        "pixels_per_latent": "pixelsPerLatent",
    }

    recipe_digest: DigestString
    weights_digest: DigestString
    base_digest: DigestString
    size_bytes: int
    seconds: str | None = None
    way: str | None = None
    """`FromScratch` or `Incremental`. None in a revision of a release that did not record it."""
    read_bytes: int | None = None
    """Bytes that the merge read. None in a revision of a release that did not record it."""
    pixels_per_latent: int | None = None
    """Pixels along one side of a latent of the base; only a run that reads the base knows it."""


class EvaluateResult(_Result):
    """The figures that an evaluation measured of a revision."""

    KIND = RunKind.EVALUATE

    base_digest: DigestString
    recipe_digest: DigestString
    weights_digest: DigestString
    omissions: Omissions = ()
    """Held-out records that were not used exactly as given."""
    figures: dict[str, str] = Field(default_factory=dict)
    """The value of each metric, as a decimal string; evaluators choose the names."""


class ServeResult(_Result):
    """The work of a server until it was stopped."""

    KIND = RunKind.SERVE
    FIGURES: ClassVar = {"images": "images", "seconds": "seconds"}

    base_digest: DigestString
    images: int
    seconds: str


class PurgeResult(_Result):
    """The objects that a purge of a shard, or of one training of it, removed and left."""

    KIND = RunKind.PURGE
    FIGURES: ClassVar = {
        "residual_count": "residuals",
        "locked_count": "locked",
        "kept_digests": "keptDigests",
    }

    purged_objects: int
    purged_bytes: int
    inventory_digest: DigestString
    residuals: tuple[str, ...] = ()
    """Some of the keys that the purge left."""
    residual_count: int
    """Number of objects that the purge left: of unknown lineage, or kept by a lock."""
    locked_count: int
    """Number of residuals that an object lock of the bucket keeps."""
    kept_digests: int | None = None
    """Number of keyed digests of its records that are kept, so that they come back only by name.

    None where there is no list of them: the training had none, or the store refused to keep it."""


class RescanResult(_Result):
    """The objects of purged shards that a rescan removed."""

    KIND = RunKind.RESCAN
    FIGURES: ClassVar = {"residual_count": "residuals"}

    purged_objects: int
    purged_bytes: int
    unrecorded_receipts: tuple[int, ...] = ()
    """Some receipts of the store that no object records, by sequence."""
    residual_count: int = 0


class SignResult(_Result):
    """The receipts that a sign run wrote or read, in the order of its requests."""

    KIND = RunKind.SIGN

    receipts: tuple[SignedReceipt, ...] = Field(min_length=1)
    missing: tuple[str, ...] = ()
    """The items that the receipts name as unconfirmed."""
    purged_objects: int | None = None
    purged_bytes: int | None = None

    @model_validator(mode="after")
    def _names_what_it_has(self) -> Self:
        places = {place for receipt in self.receipts for place in receipt.missing_named}
        if not places <= set(range(len(self.missing))):
            raise ValueError("missingNamed has a position that `missing` does not have")
        return self

    @classmethod
    def from_message(cls, message: ResultMessage) -> Self:
        """Read a message; releases before `receipts` wrote one receipt, its counts as figures."""
        if message.receipts or message.receipt_sequence is None:
            return super().from_message(message)
        figures = message.figures
        receipt = {
            "shard": "",
            "sequence": message.receipt_sequence,
            "digest": message.receipt_digest,
            "signed_at": message.signed_at or "",
            # None if it is missing: validation refuses it, instead of reading it as 0.
            "residuals": figures.get("residuals"),
            "missing": figures.get("missing"),
            "missing_named": tuple(range(len(message.missing))),
        }
        read = {"receipt_sequence", "receipt_digest", "signed_at", "inventory_digest"}
        others = message.model_copy(
            update=dict.fromkeys(read)
            | {"figures": {k: v for k, v in figures.items() if k not in {"residuals", "missing"}}}
        )
        receipts = (SignedReceipt.model_validate(receipt),)
        return super().from_message(others.model_copy(update={"receipts": receipts}))


class FindResult(_Result):
    """The records of a shard that were named, and names of none."""

    KIND = RunKind.FIND
    FIGURES: ClassVar = {"covered": "covered", "unknown_count": "unknown"}

    records: int | None = None
    """Number of records in the list; None if the training, of an older release, has no list."""
    covered: int = 0
    """Number of records that have a picture which was named."""
    unknown: tuple[str, ...] = ()
    """Up to three of the names that no record has."""
    unknown_count: int = 0


class CompareResult(_Result):
    """The records that a shard shares with others, and those that were unlearned before."""

    KIND = RunKind.COMPARE
    FIGURES: ClassVar = {
        "shared_records": "sharedRecords",
        "shard_count": "shards",
        "unread": "unread",
        "similar_count": "similarShards",
        "returning_records": "returningRecords",
        "returning_count": "unlearnings",
        "unread_lists": "unreadLists",
    }
    LATER_FIGURES: ClassVar = frozenset(
        {"similar_count", "returning_records", "returning_count", "unread_lists"}
    )

    records: int | None = None
    """Number of records in the shard's list; None if there is no list that can be read."""
    shared: tuple[SharedRecords, ...] = ()
    """Up to 16 shards, those with the most records first."""
    shared_records: int = 0
    """Number of records that any other shard has as well."""
    shard_count: int = 0
    """Number of shards that share a record."""
    unread: int = 0
    """Number of shards that were not compared: they have no list that can be read."""
    similar: tuple[SharedRecords, ...] = ()
    """Up to 8 shards with pictures that look like some of the shard's, and are other files."""
    similar_count: int = 0
    """Number of these shards."""
    returning: tuple[SharedRecords, ...] = ()
    """Up to 16 unlearnings with the most of the shard's records, by the UID of what was unlearned.

    Each record counts in its last unlearning."""
    returning_records: int = 0
    """Number of records that were unlearned before."""
    returning_count: int = 0
    """Number of unlearnings that had any of them."""
    unread_lists: int = 0
    """Number of unlearnings whose list of records cannot be read."""


RunResult = (
    TrainResult
    | MergeResult
    | EvaluateResult
    | ServeResult
    | PurgeResult
    | RescanResult
    | SignResult
    | FindResult
    | CompareResult
)
RESULTS: Mapping[RunKind, type[RunResult]] = {cls.KIND: cls for cls in get_args(RunResult)}
"""The class of the result of each kind of run."""


def read_result(kind: RunKind, message: ResultMessage) -> RunResult:
    """Read the message of a successful run as the result of its kind.

    Raises:
        InvalidResult: The message is not a result of that kind; the error names the field.
    """
    help_ = "let the workload's images be of the operator's release; the run is started again"
    if kind not in RESULTS:
        raise InvalidResult("its kind of run is not known to this release", help=help_)
    result = RESULTS[kind]
    try:
        return result.from_message(message)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        figures = {to_camel(name): f"figures.{key}" for name, key in result.FIGURES.items()}
        names = [to_camel(part) if isinstance(part, str) else str(part) for part in first["loc"]]
        where = ".".join(figures.get(name, name) for name in names)
        raise InvalidResult(
            f"its result is not one of a {kind} run: {where}: {first['msg']}", help=help_
        ) from error
