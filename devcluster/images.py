"""Images of the demo and of tests, made on the spot: OCI archives of one layer, in the cache.

`pause` holds a pod open. `base` is a small Debian with Python: the code comes to it by a volume,
which is minutes quicker than an image with torch. `seaweedfs` is the store.
"""

import hashlib
import io
import json
import os
import platform
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from devcluster import build
from devcluster.locks import only_one
from devcluster.places import REPOSITORY, cache
from devcluster.problem import INSTEAD, Problem
from devcluster.progress_log import run, step

SUITE = "bookworm"
PYTHON = "3.11"
"""The version that the suite brings, for which the site folder is made."""
PAUSE = "localhost/stockpot/pause:1"
BASE = f"localhost/stockpot/base:{SUITE}"
SEAWEEDFS = "localhost/stockpot/seaweedfs:1"
USER = "65532:65532"

# Counts as what they are made of: it stands for how they are filled and written.
RECIPE = "1"

NEEDED_BYTES = 2 << 30
"""What making and unpacking them takes."""
UNWANTED = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "var/log")
EMPTIED = ("var/cache/apt", "var/lib/apt/lists", "dev", "proc", "sys", "run", "tmp")


@dataclass(frozen=True)
class Image:
    """An image in the cache."""

    name: str
    archive: Path


def make_all(weed: Path) -> list[Image]:
    """Make what is not in the cache yet.

    Args:
        weed: The program of SeaweedFS.

    Raises:
        Problem: Debian cannot be fetched.
    """
    return [_pause(), _seaweedfs(weed), _base()]


def _pause() -> Image:
    program = build.built(build.runtime()) / "pause"
    return _image(
        PAUSE,
        str(program),
        lambda folder: _put(program, folder / "pause"),
        {"Entrypoint": ["/pause"], "User": USER},
    )


def _seaweedfs(weed: Path) -> Image:
    # The package's version is in its path only by chance; its size tells one from another.
    return _image(
        SEAWEEDFS,
        f"{weed.name} {weed.stat().st_size}",
        lambda folder: _put(weed, folder / "usr/bin/weed"),
        {"Entrypoint": ["/usr/bin/weed"], "User": USER, "Env": ["PATH=/usr/bin"]},
    )


def _base() -> Image:
    def fill(folder: Path) -> None:
        with step(f"fetching a small Debian {SUITE} with Python", eta_s=60):
            # What it mounts on the way is gone with it, even when it is killed.
            command = ["unshare", "--mount", "--propagation=private", "debootstrap"]
            command += ["--variant=minbase", "--include=python3,ca-certificates"]
            run(
                [*command, SUITE, folder],
                log=cache() / "devcluster-debootstrap.log",
                failed=f"Debian's packages for the base image could not be fetched; or {INSTEAD}",
            )
        for name in UNWANTED:
            shutil.rmtree(folder / name, ignore_errors=True)
        for name in EMPTIED:
            shutil.rmtree(folder / name, ignore_errors=True)
            (folder / name).mkdir(parents=True)
        (folder / "tmp").chmod(0o1777)
        # Workloads are started as `python`.
        (folder / "usr/bin/python").symlink_to("python3")

    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    setting = [f"PATH={path}", "LANG=C.UTF-8", "PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1"]
    return _image(BASE, SUITE, fill, {"User": USER, "Env": setting, "Cmd": ["python3"]})


def _put(program: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(program, to)
    to.chmod(0o755)


def _image(
    name: str, made_of: str, fill: Callable[[Path], None], config: dict[str, object]
) -> Image:
    """Make an image's archive, unless one was made of the same."""
    inputs = json.dumps([RECIPE, name, made_of, config])
    digest = hashlib.sha256(inputs.encode()).hexdigest()[:16]
    archive = cache() / "images" / f"{Path(name).name.replace(':', '-')}-{digest}.tar"
    if archive.is_file():
        return Image(name, archive)
    with only_one(archive.with_suffix(".lock"), f"making of {name}", last=True):
        if not archive.is_file():
            root = archive.with_suffix(".making")
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir(mode=0o755)
            fill(root)
            write(archive, root, name, config)
            shutil.rmtree(root)
    return Image(name, archive)


def write(archive: Path, root: Path, name: str, config: dict[str, object]) -> None:
    """Write a folder as an OCI archive of one layer."""
    part = archive.with_suffix(".part")
    layer = archive.with_suffix(".layer")
    with tarfile.open(layer, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.add(root, arcname=".", recursive=True)
    with layer.open("rb") as file:
        layer_digest = hashlib.file_digest(file, "sha256").hexdigest()
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "amd64")
    configuration = _encode(
        {
            "architecture": architecture,
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_digest}"]},
        }
    )
    media = "application/vnd.oci.image"
    manifest = _encode(
        {
            "schemaVersion": 2,
            "mediaType": f"{media}.manifest.v1+json",
            "config": _descriptor(f"{media}.config.v1+json", configuration),
            "layers": [
                {
                    "mediaType": f"{media}.layer.v1.tar",
                    "digest": f"sha256:{layer_digest}",
                    "size": layer.stat().st_size,
                }
            ],
        }
    )
    named = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
    index = {
        "schemaVersion": 2,
        "manifests": [_descriptor(f"{media}.manifest.v1+json", manifest) | {"annotations": named}],
    }
    with tarfile.open(part, "w") as tar:
        _add(tar, "oci-layout", _encode({"imageLayoutVersion": "1.0.0"}))
        _add(tar, "index.json", _encode(index))
        for blob in (configuration, manifest):
            _add(tar, f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}", blob)
        tar.add(layer, arcname=f"blobs/sha256/{layer_digest}")
    layer.unlink()
    os.replace(part, archive)


def _encode(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _descriptor(media_type: str, blob: bytes) -> dict[str, object]:
    digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
    return {"mediaType": media_type, "digest": digest, "size": len(blob)}


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def find_weed() -> Path:
    """Find the program of SeaweedFS, where `make setup` puts it.

    Raises:
        Problem: It is not there.
    """
    weed = REPOSITORY / ".venv" / "bin" / "weed"
    if not weed.is_file():
        raise Problem("SeaweedFS is not installed", help="make setup")
    return weed
