"""The proxy of `between`, from outside: started, told what is wrong, told that all is well."""

import json
import os
import subprocess
import sys
from pathlib import Path

from devcluster import cgroup_namespaces
from devcluster.places import REPOSITORY, Places
from tests.chaos.cluster.between import ADDRESS, PORT

ONCE = 8
"""How many requests are answered wrongly each time."""
OF_OPERATOR = {"KUBERNETES_SERVICE_HOST": ADDRESS, "KUBERNETES_SERVICE_PORT": str(PORT)}
"""What tells an operator to ask it."""


class Troubling:
    """What stands between the operators and the API server."""

    def __init__(self, places: Places, path: Path) -> None:
        self._path = path
        program = ("-m", "tests.chaos.cluster.between", str(places.keys), str(path))
        self._process = subprocess.Popen(
            ["nsenter", *cgroup_namespaces.network(places), "--", sys.executable, *program],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )

    def begin(self, what: str) -> None:
        """Trouble the operators' way to the API server."""
        part = self._path.with_suffix(".new")
        part.write_text(json.dumps({"what": what, "times": ONCE}))
        part.replace(self._path)

    def calm(self) -> None:
        """Trouble it no more.

        Raises:
            AssertionError: Nobody asked for anything meanwhile: nothing was troubled.
        """
        document = json.loads(self._path.read_text())
        self._path.unlink()
        assert document["times"] < ONCE, "nothing was troubled"

    def end(self) -> None:
        """Stand there no more."""
        self._process.kill()
        self._process.wait()
