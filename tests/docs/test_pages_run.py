"""Whatever a page tells a reader to type is run, as that reader would run it.

One test is one place: its pages follow each other, and the blocks of a page. What a place lacks on
this machine is said, and the place is left.

Invariant 13.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from devcluster import places as devcluster
from tests.docs import clusters, grounds
from tests.docs.grounds import Build, Setting
from tests.docs.pages import blocks
from tests.docs.shell import Failed, Session, sessions
from tests.docs.table import ALL, places

BUILDS: Mapping[str, Build] = {
    "clone": grounds.clone,
    "checkout": grounds.checkout,
    "api-server": clusters.api_server,
    "installed": clusters.installed,
    "installed-anew": clusters.installed,
    "laptop": grounds.laptop,
    "plug-in": grounds.plug_in,
    "new-environment": grounds.new_environment,
    "checkpoints": grounds.checkpoints,
    "verbs": grounds.verbs,
    "example": grounds.own_clone,
    "node": grounds.node,
    "node-up": grounds.node_up,
    "chaos": grounds.chaos,
    "images": grounds.own_clone,
}


def lacks_node() -> str:
    from tests.e2e.studio import WHY_NOT  # It loads torch.

    if WHY_NOT:
        return WHY_NOT
    is_up = (devcluster.places(devcluster.DEFAULT_NAME)).state.exists()
    return "the built-in cluster is up, and would be taken away: make down" if is_up else ""


LACKS: Mapping[str, Callable[[], str]] = {
    "root": lambda: "" if os.geteuid() == 0 else "needs root",
    "node": lacks_node,
    "npm": lambda: "" if shutil.which("npm") else "needs npm",
    "buildah": lambda: "" if shutil.which("buildah") else "needs buildah",
}


def why_not(name: str) -> str:
    """Why the blocks of a place are not run now; empty: they are."""
    place = places()[name]
    if place.suite == "docs-test" and not ALL:
        return "takes long: make docs-test"
    lacking = [LACKS[need]() for need in place.needs]
    return next((lack for lack in lacking if lack), "")


def test_every_place_is_in_the_table_and_can_be_built() -> None:
    assert BUILDS.keys() == places().keys()
    assert {need for place in places().values() for need in place.needs} <= LACKS.keys()


@pytest.mark.torch
@pytest.mark.tools
@pytest.mark.apiserver
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("name", BUILDS)
def test_what_pages_tell_to_type_works(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if lack := why_not(name):
        where = ", ".join(page for page, _ in sessions(blocks(), name))
        pytest.skip(f"not run: {lack} ({where})")
    setting = Setting(tmp_path, lambda: request.getfixturevalue("s3_server"))
    problems = []
    with BUILDS[name](setting) as lend:
        for page, page_blocks in sessions(blocks(), name):
            session = Session(places()[name], lend(page))
            try:
                for block in page_blocks:
                    session.do(block)
            except Failed as failed:
                problems.append(str(failed))
    assert not problems, "\n\n".join(problems)
