"""Merges from and to a real S3 server give the bytes of local files, and no partial objects."""

import json
import threading
from pathlib import Path

import pytest
from tests.contract.conftest import Server
from tests.contract.faults import CUT, HALF, LOST, a_proxy
from tests.contract.test_faults import once_each
from tests.merging.ingredients import KEYS, a_merge, an_ingredient, file_bytes, some_tensors
from tests.merging.test_soup import a_file

from stockpot.api.runspec import StoreRef
from stockpot.errors import ExitCode, StockpotError
from stockpot.merging import diff, merge, verify
from stockpot.merging.checkpoints import INDEX
from stockpot.merging.run import run
from stockpot.merging.targets import store_target
from stockpot.metrics.progress import Progress
from stockpot.store.keys import MANIFEST, SUMS, WEIGHTS
from stockpot.store.s3 import PART_BYTES, S3Store


@pytest.fixture
def bucket(s3_server: Server, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    """A store in a new bucket, whose server and credentials the environment names."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.endpoint)
    return S3Store(s3_server.endpoint, s3_server.a_bucket(versioned=False))


def some_checkpoints(
    folder: Path, bucket: S3Store, shapes: dict[str, tuple[int, ...]]
) -> tuple[list[str], list[str]]:
    """Three checkpoints as files, and the same in the bucket; the last one in two parts there."""
    files, objects = [], []
    for i in range(3):
        tensors = some_tensors(i, "F16", shapes)
        path = a_file(folder / f"{i}.safetensors", tensors)
        files.append(str(path))
        if i < 2:
            bucket.put_file(f"models/{i}.safetensors", path)
            objects.append(f"s3://{bucket.bucket}/models/{i}.safetensors")
            continue
        index = {}
        for name, key in zip(("x.safetensors", "y.safetensors"), sorted(tensors), strict=True):
            part = a_file(folder / name, {key: tensors[key]})
            bucket.put_file(f"models/two/{name}", part)
            index[key] = name
        bucket.put(f"models/two/m{INDEX}", json.dumps({"weight_map": index}).encode())
        objects.append(f"s3://{bucket.bucket}/models/two")
    return files, objects


SMALL: dict[str, tuple[int, ...]] = {"a": (300, 70), "b": (7,)}
IN_PARTS: dict[str, tuple[int, ...]] = {"a": (PART_BYTES // 16 + 100, 8), "b": (7,)}
"""The mean is uploaded in several parts."""


def test_a_merge_in_a_bucket_gives_the_bytes_of_local_files(
    tmp_path: Path, bucket: S3Store, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, objects = some_checkpoints(tmp_path, bucket, IN_PARTS)
    weights = ["1", "0.25", "3"]
    there = f"s3://{bucket.bucket}/out/soup.safetensors"

    from_files = merge(dict(zip(files, weights, strict=True)), tmp_path / "soup.safetensors")
    made = merge(dict(zip(objects, weights, strict=True)), there, verified=True)

    assert made.digest == from_files.digest
    assert bucket.get("out/soup.safetensors") == (tmp_path / "soup.safetensors").read_bytes()
    with a_proxy(s3_endpoint, lambda _: "") as proxy, monkeypatch.context() as through:
        through.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        compared = verify(there, dict(zip(objects, weights, strict=True)), digest=made.digest)
    assert compared > 4000
    assert len(proxy.requests) < 600, "an element of each checkpoint is no request of its own"
    assert all(tensor.is_equal for tensor in diff(there, tmp_path / "soup.safetensors"))
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_copies_and_replaceable_outputs_are_the_same_in_a_bucket(
    tmp_path: Path, bucket: S3Store
) -> None:
    files, objects = [], []
    for i in range(2):
        ids = ("I64", (9,), bytes(range(72)))
        tensors = {**some_tensors(i, "F16", SMALL), "aa.position_ids": ids}
        files.append(a_file(tmp_path / f"{i}.safetensors", tensors))
        bucket.put_file(f"models/{i}.safetensors", files[i])
        objects.append(f"s3://{bucket.bucket}/models/{i}.safetensors")
    there = f"s3://{bucket.bucket}/out/soup.safetensors"

    made = merge(objects, there, verified=True)
    with pytest.raises(StockpotError) as caught:
        merge(objects, objects[1])

    assert made.copied == ("aa.position_ids",)
    assert made.digest == merge(files, tmp_path / "soup.safetensors").digest
    assert caught.value.exit_code == ExitCode.USAGE
    assert bucket.get("models/1.safetensors") == files[1].read_bytes()


def test_a_failed_merge_leaves_no_object_and_no_upload(tmp_path: Path, bucket: S3Store) -> None:
    _, objects = some_checkpoints(tmp_path, bucket, IN_PARTS)
    data = bytearray(bucket.get("models/1.safetensors") or b"")
    data[-3] = 0x7E  # The last number is a NaN, which is read when most is uploaded.
    bucket.put("models/1.safetensors", bytes(data))

    with pytest.raises(StockpotError) as caught:
        merge(objects, f"s3://{bucket.bucket}/out/soup.safetensors")

    assert caught.value.exit_code == ExitCode.BAD_WEIGHTS
    assert "has a NaN or an infinity at [" in caught.value.message
    assert list(bucket.list_versions("out/")) == []


@pytest.mark.parametrize("size_bytes", [10, PART_BYTES + 10])
def test_a_failure_after_the_last_byte_leaves_no_object(bucket: S3Store, size_bytes: int) -> None:
    def write(*, fails: bool) -> None:
        with store_target(bucket, "out/soup", size_bytes) as target:
            for offset in range(0, size_bytes, 1 << 20):
                target.write(offset, memoryview(bytes(min(1 << 20, size_bytes - offset))))
            if fails:
                raise LookupError

    with pytest.raises(LookupError):
        write(fails=True)
    left = list(bucket.list_versions("out/"))
    write(fails=False)

    assert left == []
    assert [info.size_bytes for info in bucket.list("out/")] == [size_bytes]


def test_a_store_that_fails_during_a_stream_is_reported_in_a_sentence(
    tmp_path: Path, bucket: S3Store, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, objects = some_checkpoints(tmp_path, bucket, SMALL)
    assert S3Store.__init__.__kwdefaults__
    monkeypatch.setitem(S3Store.__init__.__kwdefaults__, "waits_s", ())  # Without retries.
    gets = 0

    def fault_of(request: str) -> str:
        nonlocal gets
        gets += request.startswith("GET") and "1.safetensors" in request
        return CUT if gets > 1 else ""

    with a_proxy(s3_endpoint, fault_of) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        with pytest.raises(StockpotError) as caught:
            merge(objects, tmp_path / "soup.safetensors")

    assert caught.value.exit_code == ExitCode.STORAGE
    assert "\n" not in caught.value.message
    assert not (tmp_path / "soup.safetensors").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("fault", [CUT, LOST, HALF])
def test_an_interrupted_stream_is_resumed(
    tmp_path: Path,
    bucket: S3Store,
    s3_endpoint: str,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    files, objects = some_checkpoints(tmp_path, bucket, SMALL)
    from_files = merge(files, tmp_path / "soup.safetensors")

    with a_proxy(s3_endpoint, once_each(fault)) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        made = merge(objects, tmp_path / "again.safetensors")

    assert made.digest == from_files.digest


def test_a_soup_in_a_bucket_is_merged_from_its_sums(
    tmp_path: Path, bucket: S3Store, s3_endpoint: str
) -> None:
    root = tmp_path / "store"
    parts = [
        an_ingredient(root, f"s{i}", file_bytes(some_tensors(i, "F16", SMALL)), tmp_path)
        for i in range(9)
    ]
    for path in sorted(root.rglob("*")):
        if path.is_file():
            bucket.put_file(path.relative_to(root).as_posix(), path)
    here = StoreRef(url=f"s3://{bucket.bucket}", endpoint=s3_endpoint)
    work, stop = tmp_path / "work", threading.Event()
    ways, recipes = [], []
    for some in (parts[:8], parts, parts[1:], parts[2:]):
        spec = a_merge(root, some)

        there = spec.model_copy(update={"store": here})
        made = run(there, work=work, progress=Progress(), stop=stop)

        ways.append(made.way)
        recipes.append(spec.recipe_digest)
        names = [
            root / KEYS.ingredient(part.shard_uid, part.training_key) / WEIGHTS for part in some
        ]
        assert made.weights_digest == merge(names, tmp_path / "scratch.safetensors").digest
    assert ways == ["FromScratch", "Incremental", "Incremental", "Incremental"]
    left = {info.key for info in bucket.list(KEYS.accumulators("soup-1"))}
    assert left == {
        KEYS.accumulator("soup-1", recipe) + name
        for recipe in recipes[2:]
        for name in (SUMS, MANIFEST)
    }


def test_a_missing_object_is_refused_by_name(tmp_path: Path, bucket: S3Store) -> None:
    with pytest.raises(StockpotError) as caught:
        merge([f"s3://{bucket.bucket}/absent.safetensors"], tmp_path / "soup.safetensors")

    assert caught.value.exit_code == ExitCode.BAD_WEIGHTS
    assert caught.value.message == "absent.safetensors does not exist"
