"""The mark of a namespace: whose the objects below its prefix are, should the name come again.

A namespace that is deleted leaves what is kept for ever, and debts that are still being purged. One
that is made later with the same name may be another team's: its runs are refused, until an admin
hands the prefix over. Purges and signings do not look: what the former namespace owes is paid.
"""

from pydantic import ValidationError

from stockpot.api.model import Model
from stockpot.api.namespace_ref import NamespaceRef
from stockpot.api.v1alpha1.common import ADOPT_STORE
from stockpot.errors import ExitCode, Refused
from stockpot.store.keys import Keys
from stockpot.store.port import AccessDenied, ObjectStore


class NamespaceMark(Model):
    """The stored mark."""

    version: int = 1
    uid: str
    """UID of the namespace that the prefix belongs to."""
    former: tuple[str, ...] = ()
    """UIDs of the namespaces that had it before, the oldest first."""


def claim_prefix(store: ObjectStore, keys: Keys, namespace: NamespaceRef) -> None:
    """Refuse a namespace to which the prefix does not belong; mark a prefix without a mark.

    Called before a run writes anything. A prefix without a mark is the namespace's that comes
    first, as every prefix was before there were marks. Credentials that may not write the mark
    leave it out: they are of a policy from before there were marks.

    Raises:
        Refused: The prefix belongs to a former namespace of the name or the mark is invalid
            (exit 50).
        Transient: The store fails.
    """
    if not namespace.uid:
        return
    mark = _read(store, keys)
    if mark is None:
        try:
            store.put_if_absent(keys.mark, _bytes(NamespaceMark(uid=namespace.uid)))
        except AccessDenied:
            return
        mark = _read(store, keys)  # Another run may have been first.
    if mark is None or mark.uid == namespace.uid:
        return
    if mark.uid != namespace.adopts:
        raise Refused(
            f"{keys.namespace}/ in the store belongs to the namespace {keys.namespace} with UID "
            f"{mark.uid}, which was deleted; the present one has UID {namespace.uid}",
            help="if the new namespace may have what is there, an admin says so: kubectl annotate "
            f"namespace {keys.namespace} {ADOPT_STORE}={mark.uid} --overwrite",
            exit_code=ExitCode.OTHER_NAMESPACE,
        )
    store.put(keys.mark, _bytes(NamespaceMark(uid=namespace.uid, former=(*mark.former, mark.uid))))


def _read(store: ObjectStore, keys: Keys) -> NamespaceMark | None:
    data = store.get(keys.mark)
    if data is None:
        return None
    try:
        return NamespaceMark.model_validate_json(data)
    except ValidationError as error:
        raise Refused(
            f"{keys.mark} is no mark of a namespace: {error.errors()[0]['msg']}",
            help="remove it from the store; the next run writes it anew",
            exit_code=ExitCode.OTHER_NAMESPACE,
        ) from error


def _bytes(mark: NamespaceMark) -> bytes:
    return mark.model_dump_json(indent=2).encode() + b"\n"
