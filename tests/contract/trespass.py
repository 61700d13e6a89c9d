"""Signed requests of one identity to the S3 server, byte for byte as an attacker would send them.

Clients normalise paths and check names before they send anything; these requests do not.
"""

import http.client
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from urllib.parse import SplitResult, urlsplit

from minio.credentials.credentials import Credentials
from minio.signer import sign_v4_s3
from minio.time import to_amz_date, utcnow


@dataclass(frozen=True)
class Answer:
    """The server's response."""

    status: int
    body: bytes


@dataclass(frozen=True)
class Request:
    """One request: the path begins with the bucket, and is sent as it is written."""

    method: str
    path: str
    query: str = ""
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        what = "".join(f" {name}={value}" for name, value in self.headers.items())
        return f"{self.method} {self.path}{'?' if self.query else ''}{self.query}{what}"

    def send(self, endpoint: str, access: str, secret: str) -> Answer:
        """Send it, signed with an identity's keys."""
        server = urlsplit(endpoint)
        digest = sha256(self.body).hexdigest()
        now = utcnow()
        signed = sign_v4_s3(
            method=self.method,
            url=SplitResult(server.scheme, server.netloc, self.path, self.query, ""),
            region="us-east-1",
            headers={
                "Host": server.netloc,
                "x-amz-content-sha256": digest,
                "x-amz-date": to_amz_date(now),
                **self.headers,
            },
            credentials=Credentials(access, secret),
            content_sha256=digest,
            date=now,
        )
        connection = http.client.HTTPConnection(server.netloc, timeout=30)
        try:
            target = f"{self.path}?{self.query}" if self.query else self.path
            connection.request(self.method, target, self.body or None, dict(signed))
            response = connection.getresponse()
            return Answer(response.status, response.read())
        finally:
            connection.close()
