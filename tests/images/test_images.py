"""What the images are made of, as far as it can be said without building them.

`make images` builds and tries them.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.local.tiny_soup import environment
from tests.workload.pod import UID, require_namespaces

ROOT = Path(__file__).parents[2]
FILES = ("Dockerfile", "trainer_image/Dockerfile")
SCRIPT = ROOT / "trainer_image/images.sh"


def stages(name: str) -> list[str]:
    """The stages of a Dockerfile, without comments."""
    text = re.sub(r"^#.*\n", "", (ROOT / name).read_text(), flags=re.M)
    return re.split(r"^FROM ", text, flags=re.M)


@pytest.mark.parametrize("name", FILES)
def test_an_image_stands_on_what_its_builder_named(name: str) -> None:
    before, build, last = stages(name)

    assert before.split() == ["ARG", "BASE"]
    assert build.startswith("${BASE} AS build\n")
    assert last.startswith("${BASE}\n")


@pytest.mark.parametrize("name", FILES)
def test_the_last_stage_installs_nothing_and_is_not_root(name: str) -> None:
    last = stages(name)[-1]

    assert not re.search(r"\b(apt-get|pip install|uv)\b", last)
    assert "ARG" not in last
    assert "USER 65532:65532" in last


@pytest.mark.parametrize("name", FILES)
def test_packages_come_by_hash_from_a_lock_that_is_there(name: str) -> None:
    build = stages(name)[1]
    locks = set(re.findall(r"requirements/\w+\.txt", build))

    assert build.count("--require-hashes") == 2
    assert len(locks) == 2
    assert all((ROOT / lock).is_file() for lock in locks)


def test_a_command_is_made_for_a_package_that_is_only_importable(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (tmp_path / "bin/python").chmod(0o755)
    make = ["sh", ROOT / "trainer_image/commands.sh", tmp_path, "stockpot=stockpot.cli.main"]
    subprocess.run(make, check=True)

    completed = subprocess.run(
        [tmp_path / "bin/stockpot", "--version"],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )

    assert completed.stdout.startswith("stockpot, version ")


def test_an_image_of_another_name_is_refused_before_anything_is_built() -> None:
    completed = subprocess.run(
        [SCRIPT, "slim", "thick"], capture_output=True, text=True, check=False
    )

    assert completed.returncode == 1
    assert "there is no image called thick" in completed.stderr
    assert completed.stdout == ""


def test_who_cannot_install_buildah_is_told_how(tmp_path: Path) -> None:
    require_namespaces()
    (tmp_path / "bin").mkdir()
    for program in ("sh", "dirname", "id", "mkdir"):
        (tmp_path / "bin" / program).symlink_to(f"/usr/bin/{program}")
    anybody = ["unshare", "--user", f"--map-user={UID}", f"--map-group={UID}"]
    bare = ["/usr/bin/env", "-i", f"PATH={tmp_path}/bin", f"HOME={tmp_path}"]

    completed = subprocess.run(
        [*anybody, *bare, "sh", SCRIPT], capture_output=True, text=True, check=False
    )

    assert completed.returncode == 1
    assert "built with buildah, which is not here" in completed.stderr
    assert "apt-get install buildah" in completed.stderr
