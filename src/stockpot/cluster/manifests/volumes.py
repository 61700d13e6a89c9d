"""Folders on PersistentVolumeClaims: where a run sees them, and what its pod mounts for that.

A pod mounts the folders that its RunSpec names and nothing around them, so that a training
sees its own shard's data and no other's.
"""

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from stockpot.api.runspec import Location, Place
from stockpot.api.source import Source
from stockpot.errors import ExitCode, Refused

ROOT = PurePosixPath("/claims")


def locate(source: Source) -> Location:
    """Say where a run sees a source.

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
    """Say what a pod needs to see them.

    Returns:
        Its volumes and its container's volumeMounts.
    """
    folders = sorted({location.path for location in locations if location.place is Place.FOLDER})
    parted = [(path, *_claim_of(PurePosixPath(path))) for path in folders]
    names = {claim: f"claim-{n}" for n, claim in enumerate(sorted({one[1] for one in parted}))}
    volumes = [
        # Read-only as a whole, so that the kubelet changes no owner and makes no folder on it.
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
        raise Refused(f"{path} is on no claim", help="runs of a cluster see claims and the store")
    claim, *below = path.relative_to(ROOT).parts
    return claim, str(PurePosixPath(*below)) if below else ""
