"""How long ten deletions at once take to their receipts, on a real node.

The bar: 120 s, of a warm soup that two shards survive. Wants root and an idle machine; part of
make bench-forget.
"""

import os
import sys
import time
from pathlib import Path

import pytest
from tests import tiny
from tests.e2e.studio import NAMESPACE, WHY_NOT, Studio, ask

SURVIVORS = ("stays-0", "stays-1")
LEAVING = tuple(f"goes-{number}" for number in range(10))
BAR_S = 120.0

pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.node,
    pytest.mark.skipif(bool(WHY_NOT), reason=f"not run: {WHY_NOT}"),
    pytest.mark.timeout(0),
]


def test_ten_deletions_at_once_have_their_receipts_in_time(tmp_path: Path) -> None:
    for seed, name in enumerate((*SURVIVORS, *LEAVING)):
        tiny.some_data(tmp_path / "tiny/data" / name, n=4, seed=100 + seed)
    studio = Studio(f"ten-{os.getpid()}", tmp_path / "tiny")
    try:
        studio.up()
        studio.apply("ten", *SURVIVORS, *LEAVING)
        url = studio.url("ten")
        studio.until(lambda: studio.is_made_of("ten", *SURVIVORS, *LEAVING), "all are in", 900)
        studio.until(lambda: ask(url).status == 200, "it answers")
        uid = studio.soup("ten").metadata.uid

        began_s = time.monotonic()
        names = [f"ten-{name}" for name in LEAVING]
        studio.kubectl("delete", "shards", *names, "-n", NAMESPACE, "--timeout=600s")
        took_s = time.monotonic() - began_s

        complete = [
            receipt for receipt in studio.receipts(uid) if receipt.spec.completeness == "Complete"
        ]
        merges = studio.soup("ten").status.promotions
        studio.settled("ten", *SURVIVORS)
    finally:
        studio.down()

    sys.stdout.write(
        f"\n{len(LEAVING)} deletions at once, two survivors: {len(complete)} Complete receipts "
        f"after {took_s:.1f} s, {merges} promotions since the soup began\n"
    )
    assert {one.spec.shard.name for one in complete} == set(names)
    assert took_s < BAR_S
