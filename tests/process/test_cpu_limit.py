"""CPU limits as containers see them: cgroups of both versions, nested or not."""

import os
from pathlib import Path

import pytest

from stockpot.process.cpu_limit import cores, cpu_limit


def cgroups(folder: Path, membership: str, files: dict[str, str]) -> tuple[Path, Path]:
    proc = folder / "cgroup"
    proc.write_text(membership)
    for name, content in files.items():
        (folder / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "fs" / name).write_text(content)
    return proc, folder / "fs"


@pytest.mark.parametrize(
    ("membership", "files", "limit"),
    [
        ("0::/", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/", {"cpu.max": "50000 100000\n"}, 0.5),
        ("0::/", {"cpu.max": "max 100000\n"}, None),
        ("0::/", {}, None),
        ("0::/pod/box", {"pod/cpu.max": "300000 100000", "pod/box/cpu.max": "max 100000"}, 3),
        ("0::/pod/box", {"pod/cpu.max": "300000 100000", "pod/box/cpu.max": "200000 100000"}, 2),
        ("0::/../other", {"cpu.max": "400000 100000"}, 4),
        (
            "4:cpu,cpuacct:/box\n1:memory:/box",
            {"cpu/box/cpu.cfs_quota_us": "400000", "cpu/box/cpu.cfs_period_us": "100000"},
            4,
        ),
        (
            "4:cpu:/box",
            {"cpu/box/cpu.cfs_quota_us": "-1", "cpu/box/cpu.cfs_period_us": "100000"},
            None,
        ),
        ("nonsense", {"cpu.max": "nonsense"}, None),
        ("0::/", {"cpu.max": "100000 0"}, None),
    ],
)
def test_the_smallest_limit_of_the_group_and_those_above_it_holds(
    tmp_path: Path, membership: str, files: dict[str, str], limit: float | None
) -> None:
    assert cpu_limit(*cgroups(tmp_path, membership, files)) == limit


@pytest.mark.parametrize(
    ("files", "count"),
    [
        ({}, 8),
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "900000 100000"}, 8),
    ],
)
def test_cores_are_the_limit_rounded_up_and_at_most_the_affinity(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, files: dict[str, str], count: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))

    assert cores(*cgroups(tmp_path, "0::/", files)) == count
