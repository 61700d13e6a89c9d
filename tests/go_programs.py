"""Programs in Go that tests ask: other implementations of what we read or write."""

import os
import subprocess
from pathlib import Path

import pytest
from devcluster.build import environment, toolchain
from devcluster.problem import Problem


def build_program(source: Path, program: Path) -> Path:
    """Compile a Go module; skip the test where there is no Go: `make control-plane` provides it."""
    try:
        go = toolchain()
    except Problem as problem:
        pytest.skip(f"there is no Go: {problem}; run: make control-plane")
    built = subprocess.run(
        [go, "build", "-trimpath", "-o", program, "."],
        cwd=source,
        env={**os.environ, **environment(), "CGO_ENABLED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return program
