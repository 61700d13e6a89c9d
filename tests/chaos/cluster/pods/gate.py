"""A gate in a process of a pod: where its soup is armed with this point, it stops there.

A file in a folder that pods read says which point of which soup is armed, and for the how manieth
time; whoever stops says so in its log, and goes on as soon as the file says something else. Plain
Python: it is loaded first.
"""

import json
import sys
import time
from contextlib import suppress
from pathlib import Path

ARMS = Path("/opt/chaos/arms")
POLL_S = 0.02
AGAIN = "#"
"""Between a point and the number of the arming: what stood at it earlier is not there now."""


def armed(soup: str) -> str:
    """Say what a soup is armed with; empty where it is with nothing."""
    with suppress(OSError):
        return (ARMS / soup).read_text().strip()
    return ""


def is_armed(soup: str, point: str) -> bool:
    """Whether a soup is armed with this point."""
    return armed(soup).partition(AGAIN)[0] == point


def gate(soup: str, point: str) -> None:
    """Stop here while the soup is armed with this point."""
    arming = armed(soup)
    if arming.partition(AGAIN)[0] != point:
        return
    sys.stderr.write(json.dumps({"gate": arming, "soup": soup}) + "\n")
    sys.stderr.flush()
    while armed(soup) == arming:
        time.sleep(POLL_S)
