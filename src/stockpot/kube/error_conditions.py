"""Maps errors of a reconcile to the conditions Ready and Stalled of the soup."""

from collections.abc import Mapping

from stockpot.api.conditions import ConditionType, Reason
from stockpot.cluster.apiserver.errors import ApiError, Forbidden, OverQuota
from stockpot.core.report import ConditionUpdate
from stockpot.errors import Refused, StockpotError, Transient
from stockpot.kube.environment import StoreNotDeclared


def conditions_of_error(error: Exception) -> tuple[ConditionUpdate, ...]:
    """Return the conditions that report an error; empty for errors that pass by themselves."""
    if isinstance(error, Transient) or not isinstance(error, StockpotError):
        return ()
    reasons: Mapping[type[StockpotError], Reason] = {
        StoreNotDeclared: Reason.STORE_NOT_FOUND,
        OverQuota: Reason.QUOTA_EXCEEDED,
        Forbidden: Reason.FORBIDDEN,
        ApiError: Reason.FORBIDDEN,
        Refused: Reason.SOURCE_NOT_FOUND,
    }
    reason = next((why for kind, why in reasons.items() if isinstance(error, kind)), None)
    if reason is None:
        return ()
    message = f"{error.message}; help: {error.help}" if error.help else error.message
    return (
        ConditionUpdate(ConditionType.READY, False, reason, message),
        ConditionUpdate(ConditionType.STALLED, True, reason, message),
    )
