"""Creates the S3 client and maps its errors to StockpotErrors. `s3` sends the requests."""

import os
import re
import threading
from collections.abc import Iterator
from xml.etree.ElementTree import ParseError

from minio import Minio
from minio.credentials.credentials import Credentials
from minio.credentials.providers import IamAwsProvider, Provider, StaticProvider
from minio.datatypes import ListMultipartUploadsResult
from minio.error import MinioException, S3Error, ServerError
from urllib3 import PoolManager, Timeout
from urllib3.exceptions import HTTPError

from stockpot.errors import ExitCode, Refused, StockpotError, Transient
from stockpot.store.port import CONNECTIONS, AccessDenied

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 60.0
_ENDPOINT = re.compile(r"(?P<scheme>https?)://(?P<host>[\w.-]+(:[0-9]+)?)/?", re.ASCII)
_LATER = ("SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable")
_NO_ACCESS = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken")

CLOUD_IDENTITY = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
)
"""Variables by which a cloud tells a pod where its credentials are."""
CLIENT_ERRORS = (MinioException, HTTPError, ParseError)
"""All exceptions that the client and the network raise."""


def problem(error: Exception, store: str, bucket: str, what: str) -> StockpotError:
    """Return the StockpotError for an error of the client or the network."""
    if not isinstance(error, S3Error):
        return Transient(
            f"the store {store} does not answer, asked about {what!r}: {_brief(error)}",
            help="look whether it runs and can be reached from here; then run it again",
        )
    if error.code == "NoSuchBucket":
        return no_bucket(store, bucket)
    if error.code in _NO_ACCESS:
        return AccessDenied(
            f"the store {store} refuses us {what!r}: {error.code}",
            help="look at AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and what they may do: "
            "docs/reference/store-access.md has the policies",
        )
    return Transient(
        f"the store {store} failed at {what!r}: {error.code}: {error.message}",
        help="look at the store's own log; then run it again",
    )


def no_bucket(store: str, bucket: str) -> Refused:
    """Return the refusal of a store whose bucket does not exist."""
    return Refused(
        f"the store {store} has no bucket {bucket}",
        help="create it, or correct the store's url: s3://bucket/prefix",
        exit_code=ExitCode.STORAGE,
    )


def is_transient(error: Exception) -> bool:
    """Whether the error may come from a busy or restarting server, or an interrupted network."""
    match error:
        case S3Error():
            return error.response.status >= 500 or error.code in _LATER
        case ServerError():
            return error.status_code >= 500
        case MinioException():  # The response is not in the S3 protocol: a proxy sent it.
            return True
        case _:
            return isinstance(error, HTTPError | ParseError)


def unfinished_uploads(client: Minio, bucket: str, prefix: str) -> Iterator[tuple[str, str]]:
    """Yield object name and upload ID of uploads that were neither completed nor aborted."""
    key_marker = upload_marker = None
    while True:
        page = client._list_multipart_uploads(
            bucket, prefix=prefix, key_marker=key_marker, upload_id_marker=upload_marker
        )
        for upload in page.uploads:
            yield upload.object_name or "", upload.upload_id or ""
        if not page.is_truncated:
            return
        key_marker, upload_marker = page.next_key_marker, next_upload_marker(page)


def next_upload_marker(page: ListMultipartUploadsResult) -> str | None:
    """Return where the next page of unfinished uploads begins."""
    # minio 7.2.20 stores it under a misspelled attribute; without it a second page of uploads of
    # one key would be skipped, and a purge would leave them.
    return page.next_upload_id_marker or getattr(page, "self._next_upload_id_marker", None)


def _brief(error: Exception) -> str:
    return " ".join(str(getattr(error, "reason", None) or error).split())[:300]


def client_of(endpoint: str, name: str) -> Minio:
    """Create a client with the credentials of the environment.

    Args:
        endpoint: `http://host:port` or `https://host`.
        name: What messages call the store.

    Raises:
        Refused: There are no credentials, or the endpoint is invalid.
    """
    match = _ENDPOINT.fullmatch(endpoint)
    if match is None:
        raise Refused(
            f"the store {name} has no valid endpoint",
            help="write it as http://host:port or https://host",
            exit_code=ExitCode.BAD_RUN_SPEC,
        )
    return Minio(
        match["host"],
        credentials=_credentials(name),
        secure=match["scheme"] == "https",
        # Without a region the client requests the bucket's before its first request.
        region=os.environ.get("AWS_REGION") or "us-east-1",
        # `with_retries` repeats whole requests, including those cut off while being read.
        http_client=PoolManager(
            timeout=Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S),
            retries=False,
            maxsize=CONNECTIONS,
        ),
    )


def _credentials(name: str) -> Provider:
    """Return what the environment gives: keys, or a cloud identity of the pod.

    Raises:
        Refused: It gives neither.
    """
    access = os.environ.get("AWS_ACCESS_KEY_ID")
    secret = os.environ.get("AWS_SECRET_ACCESS_KEY")
    if access and secret:
        return StaticProvider(access, secret, os.environ.get("AWS_SESSION_TOKEN"))
    if any(os.environ.get(variable) for variable in CLOUD_IDENTITY):
        return CloudIdentity(name)
    raise Refused(
        f"there are no credentials for the store {name}",
        help="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment, or give the "
        "pod's ServiceAccount a cloud identity",
        exit_code=ExitCode.STORAGE,
    )


class CloudIdentity(Provider):
    """Credentials of the pod's ServiceAccount, fetched anew when they expire."""

    def __init__(self, name: str) -> None:
        """Prepare to fetch; nothing is sent yet.

        Args:
            name: What messages call the store.
        """
        timeout = Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S)
        self._provider = IamAwsProvider(http_client=PoolManager(timeout=timeout, retries=False))
        self._name = name
        self._lock = threading.Lock()  # Several threads send requests.

    def retrieve(self) -> Credentials:
        """Return credentials that have not expired.

        Raises:
            Transient: The cloud gives none, or does not answer.
        """
        try:
            with self._lock:
                return self._provider.retrieve()
        except (MinioException, HTTPError, OSError, ValueError, KeyError, ParseError) as error:
            raise Transient(
                f"the cloud gave the pod no credentials for the store {self._name}: "
                f"{_brief(error)}",
                help="look at the annotations of the pod's ServiceAccount, and at the role that "
                "they name: whom it trusts",
            ) from error
