"""What merging from S3 costs above what its client costs alone: CPU-seconds of this process.

The client alone asks for ranges of 8 MB, four at a time, and throws away what it read: so it has
been measured beside other clients. It is cheaper with one request for each object, which is said
too, and is what merging does; merging adds, hashes the mean and brings it to the disk on top.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tests.contract.conftest import Server, s3_server
from tests.merging.test_soup import a_file

from stockpot.merging import merge
from stockpot.store.s3 import S3Store

pytestmark = pytest.mark.benchmark

__all__ = ["s3_server"]

COUNT, ELEMENTS = 8, 32 << 20
FETCH_BYTES = 8 << 20


def spent_s() -> float:
    times = os.times()
    return times.user + times.system


@pytest.mark.timeout(900)
def test_of_what_the_client_reads_alone_60_percent_are_merged(
    tmp_path: Path,
    s3_server: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.endpoint)
    bucket = S3Store(s3_server.endpoint, s3_server.a_bucket(versioned=False))
    base = np.random.default_rng(0).normal(size=ELEMENTS).astype(np.float32) * 0.03
    keys = []
    for i in range(COUNT):
        own = (base + np.roll(base, i * 7919) * 0.03).astype("<f2")
        path = a_file(tmp_path / "x", {"a": ("F16", (ELEMENTS,), own.tobytes())})
        bucket.put_file(f"{i}.safetensors", path)
        keys.append(f"{i}.safetensors")
    size_bytes = path.stat().st_size

    def fetch(key: str) -> None:
        for offset in range(0, size_bytes, FETCH_BYTES):
            length = min(FETCH_BYTES, size_bytes - offset)
            response = s3_server.client.get_object(bucket.bucket, key, offset, length)
            response.read()
            response.close()
            response.release_conn()

    def fetch_whole(key: str) -> None:
        response = s3_server.client.get_object(bucket.bucket, key)
        while response.read(1 << 20):
            pass
        response.close()
        response.release_conn()

    alone_s, whole_s, merged_s = [], [], []
    for _ in range(5):
        for fetched, took_s in ((fetch, alone_s), (fetch_whole, whole_s)):
            began_s = spent_s()
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(fetched, keys))
            took_s.append(spent_s() - began_s)
        began_s = spent_s()
        merge([f"s3://{bucket.bucket}/{key}" for key in keys], tmp_path / "soup.safetensors")
        merged_s.append(spent_s() - began_s)

    total = COUNT * size_bytes / 1e9
    sys.stdout.write(
        f"\nminio alone {total / min(alone_s):.2f} GB per CPU-s "
        f"({total / min(whole_s):.2f} with one request for each object), "
        f"merging {total / min(merged_s):.2f} GB per CPU-s: {min(alone_s) / min(merged_s):.0%}\n"
    )
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert min(alone_s) / min(merged_s) >= 0.6
