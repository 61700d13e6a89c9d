"""The verb `find`: finds records by name in the list of those that a shard was trained on.

It runs before records leave a shard, so that a misspelt name costs the shard nothing.
"""

import threading
from collections import Counter
from pathlib import Path

from stockpot.api.results import FindResult
from stockpot.api.runspec import FindRun
from stockpot.core.omissions import printable
from stockpot.metrics.progress import Progress
from stockpot.process.interruption import raise_if_stopping
from stockpot.store.keys import Keys
from stockpot.store.open import open_store
from stockpot.store.record_list import normal_name, read_record_list

NAMED = 3
"""How many unknown names a result has."""


def run(spec: FindRun, *, work: Path, progress: Progress, stop: threading.Event) -> FindResult:
    """Find records by name or digest, with all copies of their pictures.

    Args:
        spec: The shard, one training of it, and the names.
        work: Not used.
        progress: Goes through `reading`.
        stop: Set to interrupt.

    Returns:
        How many records have one of the pictures that are named, and the names of none. Without a
        list only that there is none.

    Raises:
        Refused: (BAD_WEIGHTS) The list is damaged.
        Transient: The store fails.
        StockpotError: It was interrupted (75).
    """
    del work
    progress.begin("reading")
    folder_key = Keys(spec.soup.namespace).ingredient(spec.shard.uid, spec.training_key)
    listed = read_record_list(open_store(spec.store, spec.soup.namespace), folder_key)
    if listed is None:
        return FindResult()
    wanted = {normal_name(name): name for name in spec.names}
    known: set[str] = set()
    pictures: Counter[str] = Counter()
    named_pictures: set[str] = set()
    for number, record in enumerate(listed, start=1):
        if number % 10_000 == 0:
            raise_if_stopping(stop, "The search was interrupted.", help="Run it again.")
        pictures[record.picture] += 1
        if named := record.names & wanted.keys():
            known |= named
            named_pictures.add(record.picture)
    unknown = sorted(wanted[name] for name in wanted.keys() - known)
    return FindResult(
        records=pictures.total(),
        covered=sum(pictures[picture] for picture in named_pictures),
        unknown=tuple(map(printable, unknown[:NAMED])),
        unknown_count=len(unknown),
    )
