"""Set the environment variables that libraries need in a restricted pod.

In a pod the user is a number without a name, its home may be `/`, and only the work folder and
`/tmp` are writable. Libraries need a user name, a home and a temporary folder all the same.
"""

import os
import pwd
import tempfile
from pathlib import Path

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")
"""What `getpass.getuser` reads before it asks for an entry in /etc/passwd."""


def settle(work: Path) -> None:
    """Set missing environment variables; those that are set and work stay.

    Args:
        work: A writable folder.
    """
    environment = os.environ
    for name in THREADS:
        # Contended threads are 5 to 40 times slower; users may set more than one.
        environment.setdefault(name, "1")
    # Nothing is ever fetched from a hub: bases come from the store, by digest.
    environment["HF_HUB_OFFLINE"] = "1"
    if not os.access(environment.get("HOME", ""), os.W_OK):
        environment["HOME"] = str(work)
    if not _has_name():
        environment["USER"] = "stockpot"
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        environment["TMPDIR"] = str(work)


def _has_name() -> bool:
    if any(os.environ.get(name) for name in NAMES):
        return True
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        return False
    return True
