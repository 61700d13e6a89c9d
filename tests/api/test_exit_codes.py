"""The range of final exit codes is stated once, and the reference says the same."""

import re
from pathlib import Path

from stockpot.core.runs import Failure
from stockpot.errors import FINAL_EXIT_CODES, ExitCode

PAGE = Path("docs/reference/exit-codes.md")
FIRST_RELEASE = {
    "OK": 0,
    "BUG": 1,
    "USAGE": 2,
    "INVALID": 3,
    "NOT_SETTLED": 4,
    "LOCKED": 5,
    "PORT_TAKEN": 6,
    "STORAGE": 7,
    "NOT_PROVEN": 8,
    "DISPROVEN": 9,
    "BAD_DATA": 42,
    "WRONG_DIGEST": 43,
    "DIVERGED": 44,
    "BAD_BASE": 45,
    "BAD_WEIGHTS": 46,
    "FORGOTTEN": 47,
    "BAD_RUN_SPEC": 48,
    "NO_SIGNING_KEY": 49,
    "OTHER_NAMESPACE": 50,
    "INTERRUPTED": 75,
}


def test_no_exit_code_changes() -> None:
    assert {code.name: int(code) for code in ExitCode}.items() >= FIRST_RELEASE.items()


def test_the_page_states_the_range_and_every_code() -> None:
    text = " ".join(PAGE.read_text().split())
    first, last = map(int, re.findall(r"(\d+) to (\d+) mean that the same input would", text)[0])

    assert range(first, last + 1) == FINAL_EXIT_CODES
    listed = dict(re.findall(r"\| (\d+) \| `(\w+)` \|", text))
    assert {int(code): name for code, name in listed.items()} == {
        int(code): code.name for code in ExitCode
    }


def test_every_code_of_the_range_is_final_and_no_other_above_it() -> None:
    for code in range(10, 200):
        assert Failure(code, "").is_final is (code in FINAL_EXIT_CODES)
