"""Compiles kernel.c and lora.c: `python -m stockpot.merging.build`, or the package's build.

They become plain shared objects: no Python header is needed, one file serves every version of
Python, and a machine without a compiler works without them. This module imports nothing of
Stockpot, so that a build can load it alone.
"""

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
LIBRARIES = {"_kernel.so": "kernel.c", "_lora.so": "lora.c"}
"""Each library with its source."""
FLAGS = ("-std=c11", "-O3", "-fPIC", "-shared", "-fvisibility=hidden", "-ffp-contract=off", "-Wall")


def compiler() -> list[str] | None:
    """Find a C compiler: `$CC`, else `cc`, `gcc` or `clang`."""
    named = shlex.split(os.environ.get("CC", ""))
    for command in [named] if named else [["cc"], ["gcc"], ["clang"]]:
        if shutil.which(command[0]):
            return command
    return None


def build(library: Path = HERE / "_kernel.so", source: Path = HERE / "kernel.c") -> str | None:
    """Compile the source into a library, which appears whole or not at all.

    Returns:
        The reason why there is no library, or None on success.
    """
    command = compiler()
    if command is None:
        return "there is no C compiler"
    digest = int.from_bytes(hashlib.sha256(source.read_bytes()).digest()[:8], "big") >> 1
    with tempfile.TemporaryDirectory(dir=library.parent, prefix=".building-") as folder:
        made = Path(folder) / library.name
        done = subprocess.run(  # noqa: S603
            [*command, *FLAGS, f"-DSOURCE_DIGEST={digest}LL", "-o", str(made), str(source)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            return done.stderr.strip() or f"{command[0]} ended with {done.returncode}"
        made.chmod(0o755)
        made.replace(library)
    return None


def build_all(folder: Path = HERE) -> str | None:
    """Compile all libraries; return the first reason why one is missing, as `build` does."""
    made = [build(folder / library, folder / source) for library, source in LIBRARIES.items()]
    return next((why for why in made if why), None)


if __name__ == "__main__":
    why = build_all()
    # Without the libraries merges are slower, but right: this is no error.
    sys.stderr.write(f"no compiled kernel, merging will be slower: {why}\n" if why else "")
