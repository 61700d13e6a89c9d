"""Mounts of the folders on PersistentVolumeClaims that a run reads.

A pod mounts only the folders that its RunSpec names, so that a training sees its own shard's data
and no other's.
"""

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from stockpot.api.runspec import Location, Place
from stockpot.api.source import Source
from stockpot.errors import ExitCode, Refused

ROOT = PurePosixPath("/claims")


def locate(source: Source) -> Location:
    """Return the location at which a run reads a source.

    Raises:
        Refused: The path leaves its claim.
    """
    if source.s3:
        return Location(place=Place.STORE, path=source.s3.prefix)
    claim = source.pvc
    assert claim is not None  # A source names exactly one.
    below = PurePosixPath(claim.path)
    if ".." in below.parts:
        raise Refused(
            f"the path {claim.path} leaves the claim {claim.claim_name}",
            help="name a folder below the claim's root, without ..",
            exit_code=ExitCode.INVALID,
        )
    return Location(place=Place.FOLDER, path=str(ROOT / claim.claim_name / below))


def mounts_of(
    locations: Iterable[Location],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the volumes and the container's volumeMounts that a pod needs for these locations."""
    folders = sorted({location.path for location in locations if location.place is Place.FOLDER})
    parted = [(path, *_claim_of(PurePosixPath(path))) for path in folders]
    claims = sorted({claim for _, claim, _ in parted})
    names = {claim: f"claim-{n}" for n, claim in enumerate(claims)}
    volumes = [
        # Read-only, so that the kubelet neither changes owners nor creates folders on it.
        {"name": name, "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
        for claim, name in names.items()
    ]
    mounts = [
        {"name": names[claim], "mountPath": path, "readOnly": True}
        | ({"subPath": below} if below else {})
        for path, claim, below in parted
    ]
    return volumes, mounts


def _claim_of(path: PurePosixPath) -> tuple[str, str]:
    if path == ROOT or not path.is_relative_to(ROOT):
        raise Refused(
            f"{path} is not on a PersistentVolumeClaim",
            help="runs on a cluster read only claims and the store",
        )
    claim, *below = path.relative_to(ROOT).parts
    return claim, str(PurePosixPath(*below)) if below else ""
