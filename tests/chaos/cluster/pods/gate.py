"""A gate in a process of a pod: where its soup is armed with this point, it stops there.

A file in a folder that pods read says which point of which soup is armed; whoever stops says so in
its log, and goes on as soon as the file says something else. Plain Python: it is loaded first.
"""

import json
import sys
import time
from contextlib import suppress
from pathlib import Path

ARMS = Path("/opt/chaos/arms")
POLL_S = 0.02


def armed(soup: str) -> str:
    """Say which point a soup is armed with; empty where it is with none."""
    with suppress(OSError):
        return (ARMS / soup).read_text().strip()
    return ""


def gate(soup: str, point: str) -> None:
    """Stop here while the soup is armed with this point."""
    if armed(soup) != point:
        return
    sys.stderr.write(json.dumps({"gate": point, "soup": soup}) + "\n")
    sys.stderr.flush()
    while armed(soup) == point:
        time.sleep(POLL_S)
