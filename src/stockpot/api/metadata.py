"""Check metadata as the API server does: labels, annotations, finalizers, and its own fields."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from stockpot.api.complaints import Complaint, clip
from stockpot.api.v1alpha1 import FINALIZER, ObjectMeta

MOST_ANNOTATIONS_BYTES = 262_144
LONGEST_NAME = 63
LONGEST_PREFIX = 253

_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]", re.ASCII)
_PREFIX = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)
_LETTERS = "letters, digits, -, _ and ., with a letter or digit at each end"


def metadata_complaints(metadata: ObjectMeta) -> Iterator[Complaint]:
    """Yield what the API server would refuse in metadata whose fields have the right types."""
    for key, value in metadata.labels.items():
        path = ("metadata", "labels", key)
        if fault := _fault_of_key(key, lower=False):
            yield Complaint(f"metadata.labels has the key {clip(key)!r}", path, help=fault)
        if value and (len(value) > LONGEST_NAME or not _NAME.fullmatch(value)):
            yield Complaint(
                f"metadata.labels.{clip(key)} is {clip(value)!r}",
                path,
                help=f"write at most {LONGEST_NAME} {_LETTERS}; other text can be an annotation",
            )
    for key in metadata.annotations:
        if fault := _fault_of_key(key, lower=True):
            path = ("metadata", "annotations", key)
            yield Complaint(f"metadata.annotations has the key {clip(key)!r}", path, help=fault)
    size = sum(len(k.encode()) + len(v.encode()) for k, v in metadata.annotations.items())
    if size > MOST_ANNOTATIONS_BYTES:
        yield Complaint(
            f"metadata.annotations has {size:,} bytes",
            ("metadata", "annotations"),
            help=f"Kubernetes holds {MOST_ANNOTATIONS_BYTES:,}",
        )
    yield from _finalizers(metadata)


def server_complaints(metadata: Mapping[str, Any]) -> Iterator[Complaint]:
    """Yield the fields that the API server writes and whose values it would refuse."""
    for key, (is_right, what) in _OF_THE_SERVER.items():
        value = metadata.get(key)
        if value is not None and not is_right(value):
            yield Complaint(
                f"metadata.{key} is {clip(str(value))}, and {what}",
                ("metadata", key),
                help="leave it out: the API server writes it",
            )


def _finalizers(metadata: ObjectMeta) -> Iterator[Complaint]:
    for place, name in enumerate(metadata.finalizers):
        path = ("metadata", "finalizers", place)
        if fault := _fault_of_key(name, lower=False):
            yield Complaint(f"metadata.finalizers has {clip(name)!r}", path, help=fault)
    if {"foregroundDeletion", "orphan"} <= set(metadata.finalizers):
        yield Complaint(
            "metadata.finalizers has both foregroundDeletion and orphan",
            ("metadata", "finalizers"),
            help="keep one of them",
        )


def foreign_finalizers(metadata: ObjectMeta) -> tuple[str, ...]:
    """Return the finalizers that Stockpot does not remove."""
    return tuple(name for name in metadata.finalizers if name != FINALIZER)


def _fault_of_key(key: str, *, lower: bool) -> str:
    """Return the mistake in a qualified name, as `example.com/name`, or an empty string."""
    # In annotations the API server accepts capital letters before the slash, too.
    prefix, slash, name = key.partition("/")
    if not slash:
        prefix, name = "", key
    if "/" in name:
        return "write at most one slash, between a domain and a name: example.com/name"
    if len(name) > LONGEST_NAME or not _NAME.fullmatch(name):
        return f"write at most {LONGEST_NAME} {_LETTERS}"
    domain = prefix.lower() if lower else prefix
    if slash and (len(domain) > LONGEST_PREFIX or not _PREFIX.fullmatch(domain)):
        return "write a domain before the slash, in small letters: example.com/name"
    return ""


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_time(value: Any) -> bool:
    return isinstance(value, str) and _TIME.fullmatch(value) is not None


def _are_mappings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _are_owners(value: Any) -> bool:
    needed = ("apiVersion", "kind", "name", "uid")
    return _are_mappings(value) and all(
        isinstance(item.get(key), str) and item[key] for item in value for key in needed
    )


_OF_THE_SERVER: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "uid": (_is_text, "it is text"),
    "resourceVersion": (_is_text, "it is text"),
    "selfLink": (_is_text, "it is text"),
    "generation": (_is_number, "it is a whole number"),
    "deletionGracePeriodSeconds": (_is_number, "it is a whole number"),
    "creationTimestamp": (_is_time, "it is a time, as 2027-01-01T00:00:00Z"),
    "deletionTimestamp": (_is_time, "it is a time, as 2027-01-01T00:00:00Z"),
    "managedFields": (_are_mappings, "it is a list of mappings"),
    "ownerReferences": (_are_owners, "each has apiVersion, kind, name and uid"),
}
