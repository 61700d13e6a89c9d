"""Lists the soups that have receipts in a store, and finds one by name."""

import json
from collections.abc import Mapping

from stockpot.errors import ExitCode, Refused
from stockpot.store.keys import Keys
from stockpot.store.port import ObjectStore
from stockpot.unlearning.envelope import BadEnvelopeError, payload_unchecked


def find_soup(
    store: ObjectStore, keys: Keys, named: str, anchored: Mapping[str, str] | None = None
) -> str:
    """Find the UID of a soup by the name in its receipts, or by the UID itself.

    This only selects the chain to check: its check detects a receipt with a forged name.

    Args:
        store: The store to search.
        keys: The store keys of the namespace.
        named: `emoji`, `soup/emoji`, or a UID.
        anchored: Names by UID of soups with anchored heads, whose receipts may be gone.

    Raises:
        Refused: No soup of that name has a receipt there, or several have (exit 2).
    """
    name = named.removeprefix("soup/")
    soups = {**(anchored or {}), **soups_in(store, keys)}
    if name in soups:
        return name
    uids = sorted(uid for uid, called in soups.items() if called == name)
    if len(uids) == 1:
        return uids[0]
    if uids:
        raise Refused(
            f"several soups had the name {name}, one after the other: {', '.join(uids)}",
            help=f"name the soup by its UID, as in soup/{uids[0]}",
            exit_code=ExitCode.USAGE,
        )
    known = ", ".join(f"{called} ({uid})" for uid, called in sorted(soups.items())) or "none"
    raise Refused(
        f"no soup {name} has receipts in namespace {keys.namespace} of this store",
        help=f"check --store and --namespace; soups with receipts there: {known}",
        exit_code=ExitCode.USAGE,
    )


def soups_in(store: ObjectStore, keys: Keys) -> dict[str, str]:
    """Return the names of the soups that have receipts, by UID; a name may be empty."""
    folder = f"{keys.namespace}/receipts/"
    names: dict[str, str] = {}
    for info in store.list(folder):
        uid = info.key.removeprefix(folder).partition("/")[0]
        if not names.get(uid):
            names[uid] = _name(store.get(info.key))
    return names


def namespaces_in(store: ObjectStore) -> tuple[str, ...]:
    """List the namespaces that have receipts; lists every object of the store."""
    parts = (info.key.split("/") for info in store.list(""))
    return tuple(sorted({part[0] for part in parts if len(part) > 3 and part[1] == "receipts"}))


def _name(data: bytes | None) -> str:
    try:
        statement = json.loads(payload_unchecked(data or b""))
        return str(statement["predicate"]["soup"]["name"])
    except (BadEnvelopeError, ValueError, KeyError, TypeError):
        return ""
