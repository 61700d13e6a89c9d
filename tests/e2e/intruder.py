"""The program of a pod that tries what it is told, with the keys and the network that it was given.

Its argument is a JSON list of attempts. It prints one JSON object: the answer to each, by name.
"""

import errno
import json
import os
import ssl
import sys
import urllib.error
import urllib.request
from io import BytesIO
from pathlib import Path

from minio import Minio
from minio.commonconfig import CopySource
from minio.deleteobjects import DeleteObject
from minio.error import S3Error
from urllib3 import PoolManager, Retry

BUCKET, ADDRESS = "stockpot", "seaweedfs.stockpot-store.svc:8333"
TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
PATIENCE_S = 20
CONTENT = b"planted"


def read(client, key):
    response = client.get_object(BUCKET, key)
    response.read()
    response.close()


def begin_upload(client, key):
    client._abort_multipart_upload(BUCKET, key, client._create_multipart_upload(BUCKET, key, {}))


def put(client, key):
    client.put_object(BUCKET, key, BytesIO(CONTENT), len(CONTENT))


def list_all(client, key, **options):
    list(client.list_objects(BUCKET, key, recursive=True, **options))


OPERATIONS = {
    "list": lambda client, key, _: list_all(client, key),
    "list-versions": lambda client, key, _: list_all(client, key, include_version=True),
    "get": lambda client, key, _: read(client, key),
    "stat": lambda client, key, _: client.stat_object(BUCKET, key),
    "put": lambda client, key, _: put(client, key),
    "copy": lambda client, key, source: client.copy_object(BUCKET, key, CopySource(BUCKET, source)),
    "upload": lambda client, key, _: begin_upload(client, key),
    "delete": lambda client, key, _: client.remove_object(BUCKET, key),
    "delete-several": lambda client, key, _: [
        error.code for error in client.remove_objects(BUCKET, [DeleteObject(key)])
    ],
}


def store(operation, key, source):
    """Try one operation of S3."""
    client = Minio(
        ADDRESS,
        os.environ["AWS_ACCESS_KEY_ID"],
        os.environ["AWS_SECRET_ACCESS_KEY"],
        secure=False,
        region="us-east-1",
        http_client=PoolManager(retries=Retry(0)),
    )
    refused = OPERATIONS[operation](client, key, source)
    return f"refused {refused[0]}" if isinstance(refused, list) and refused else "ok"


def ask(method, url, body):
    """Send one request; to the API server with the pod's token, if it has one."""
    request = urllib.request.Request(url, body.encode() or None, method=method)
    request.add_header("Content-Type", "application/json")
    if TOKEN.exists():
        request.add_header("Authorization", f"Bearer {TOKEN.read_text()}")
    context = ssl._create_unverified_context()
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S, context=context) as answer:
            return f"ok {answer.status}"
    except urllib.error.HTTPError as error:
        return f"refused {error.code}"
    except urllib.error.URLError as error:
        number = getattr(error.reason, "errno", None)
        return f"unreachable {errno.errorcode.get(number, error.reason)}"


def answer(attempt):
    try:
        if "url" in attempt:
            return ask(attempt["method"], attempt["url"], attempt.get("body", ""))
        return store(attempt["operation"], attempt["key"], attempt.get("source", ""))
    except S3Error as error:
        return f"refused {error.code}"


answers = {attempt["name"]: answer(attempt) for attempt in json.loads(sys.argv[1])}
sys.stdout.write(json.dumps(answers))
