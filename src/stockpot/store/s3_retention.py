"""Reads an S3 bucket's object locks and replication, as far as the credentials permit.

They may keep or copy objects beyond a deletion. Often only an administrator may read replication.
"""

from minio import Minio
from minio.error import S3Error

from stockpot.store.port import Custody

_NO_LOCK = (
    "ObjectLockConfigurationNotFoundError",
    "NoSuchObjectLockConfiguration",
    "NoSuchObjectLegalHold",
    "InvalidRequest",
    "NotImplemented",
    "NoSuchKey",
    "NoSuchVersion",
    "MethodNotAllowed",
)
_NO_REPLICATION = ("ReplicationConfigurationNotFoundError",)


def custody_of(client: Minio, bucket: str) -> Custody:
    """Read a bucket's settings.

    Raises:
        S3Error: The server failed for another reason than denied access.
    """
    return Custody(_locks(client, bucket), _replicas(client, bucket))


def why_kept(client: Minio, bucket: str, name: str, version: str) -> str:
    """Return which lock a version has; empty if it has none, or access is denied."""
    try:
        retention = client.get_object_retention(bucket, name, version_id=version or None)
        if retention:
            until = retention.retain_until_date.strftime("%Y-%m-%dT%H:%M:%SZ")
            return f"retention ({retention.mode}) until {until}"
    except S3Error as error:
        if error.code not in (*_NO_LOCK, "AccessDenied"):
            raise
    try:
        if client.is_object_legal_hold_enabled(bucket, name, version_id=version or None):
            return "a legal hold"
    except S3Error as error:
        if error.code not in (*_NO_LOCK, "AccessDenied"):
            raise
    return ""


def _locks(client: Minio, bucket: str) -> bool | None:
    try:
        client.get_object_lock_config(bucket)
    except S3Error as error:
        return False if error.code in _NO_LOCK else None
    return True


def _replicas(client: Minio, bucket: str) -> tuple[str, ...] | None:
    try:
        replication = client.get_bucket_replication(bucket)
    except S3Error as error:
        return () if error.code in _NO_REPLICATION else None
    rules = replication.rules if replication else ()
    places = (rule.destination.bucket_arn for rule in rules if rule.destination)
    return tuple(sorted({place for place in places if place}))
