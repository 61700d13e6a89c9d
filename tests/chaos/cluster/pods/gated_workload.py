"""Gates in the processes of the verbs: at their start, before requests to the store, at their end.

The interpreter tells of every request before it is sent, so that nothing of the product is changed.
"""

import atexit
import json
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.chaos.cluster.pods.gate import gate

SPEC = Path("/etc/stockpot/run/spec.json")
REQUESTS = (
    ("merge", "publish", re.compile(rb"PUT /[^ ]*/revisions/[^ ]*/manifest\.json")),
    ("purge", "tombstone", re.compile(rb"PUT /[^ ]*/tombstones/")),
    ("purge", "inventory", re.compile(rb"PUT /[^ ]*/inventories/")),
    ("purge", "removal", re.compile(rb"DELETE /[^ ]*/(shards|soups)/")),
    ("sign", "receipt", re.compile(rb"PUT /[^ ]*/receipts/")),
    ("train", "publish", re.compile(rb"PUT /[^ ]*/shards/[^ /]*/[0-9a-f]{64}/manifest\.json")),
)
"""A verb, what a request of it means, and how it begins. The first of a kind is number 1."""


def set_up() -> None:
    """Set gates, in a process that was told a RunSpec."""
    with suppress(OSError):
        run_spec = json.loads(SPEC.read_bytes())
        verb, soup = run_spec["verb"], run_spec["soup"]["name"]
        whose = f"@{run_spec['shard']['name']}" if verb == "train" else ""
        gate(soup, f"{verb}:begins{whose}")
        sys.addaudithook(_looking_at(verb, soup, whose))
        atexit.register(gate, soup, f"{verb}:ends{whose}")


def _looking_at(verb: str, soup: str, whose: str) -> Callable[[str, tuple[Any, ...]], None]:
    counted: dict[str, int] = {}

    def look(event: str, details: tuple[Any, ...]) -> None:
        if event != "http.client.send" or not isinstance(details[1], bytes):
            return
        for of, what, begins in REQUESTS:
            if of == verb and begins.match(details[1]):
                counted[what] = counted.get(what, 0) + 1
                gate(soup, f"{verb}:{what}-{counted[what]}{whose}")

    return look
