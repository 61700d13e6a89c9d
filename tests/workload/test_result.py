"""A ResultMessage as a pod can say it: at most 4,096 bytes, into a file that may be mounted."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.local.tiny_soup import environment
from tests.workload.pod import ENTER, require_namespaces

from stockpot.api.omissions import LONGEST_EXAMPLE, MOST_EXAMPLES, Omission, OmissionReason
from stockpot.api.results import ResultMessage
from stockpot.errors import StockpotError
from stockpot.workload.result import LONGEST_BYTES, fitting, problem_of, write_result


@given(
    message=st.text(max_size=6000),
    help_text=st.text(max_size=6000),
    figures=st.dictionaries(st.text(min_size=1, max_size=40), st.text(max_size=60), max_size=80),
)
def test_a_result_is_never_longer_than_a_pod_may_say(
    message: str, help_text: str, figures: dict[str, str]
) -> None:
    result = ResultMessage(problem=problem_of(7, message, help_text), figures=figures)

    data = fitting(result)

    assert len(data) <= LONGEST_BYTES
    written = ResultMessage.model_validate_json(data)
    assert written.problem is not None
    assert written.problem.exit_code == 7


def test_a_long_message_keeps_its_beginning_and_its_help() -> None:
    message = ResultMessage.model_validate_json(
        fitting(ResultMessage(problem=problem_of(7, "store away: " + "é" * 9000, "start it")))
    )

    assert message.problem is not None
    assert message.problem.message.startswith("store away: éé")
    assert message.problem.message.endswith(" …")
    assert message.problem.help == "start it"
    assert len(message.problem.message) > 1500


@given(
    counts=st.lists(st.integers(1, 10**9), min_size=1, max_size=len(OmissionReason)),
    example=st.text(min_size=1, max_size=LONGEST_EXAMPLE),
    figures=st.dictionaries(st.text(min_size=1, max_size=40), st.text(max_size=60), max_size=80),
)
def test_the_numbers_of_what_was_left_out_always_fit(
    counts: list[int], example: str, figures: dict[str, str]
) -> None:
    omissions = tuple(
        Omission(reason=reason.value, count=count, examples=(example,) * MOST_EXAMPLES)
        for reason, count in zip(OmissionReason, counts, strict=False)
    )

    data = fitting(ResultMessage(omissions=omissions, figures=figures))

    assert len(data) <= LONGEST_BYTES
    message = ResultMessage.model_validate_json(data)
    assert [omission.count for omission in message.omissions] == counts
    lengths = {len(omission.examples) for omission in message.omissions}
    assert len(lengths) == 1, "none has lost more names than another"
    assert not figures or message.figures or lengths == {0}, "names go before figures"


def test_what_fits_is_not_touched() -> None:
    result = ResultMessage(figures={"loss": "0.5"}, problem=problem_of(7, "m" * 1000, "h" * 1000))

    assert ResultMessage.model_validate_json(fitting(result)) == result


def test_a_name_that_is_no_text_can_be_said() -> None:
    name = os.fsdecode(b"caf\xe9.png")

    message = ResultMessage.model_validate_json(
        fitting(ResultMessage(problem=problem_of(42, name)))
    )

    assert message.problem is not None
    assert message.problem.message == "caf\\udce9.png"


def test_a_shorter_result_leaves_nothing_of_a_longer_one(tmp_path: Path) -> None:
    path = tmp_path / "termination-log"
    path.write_text("x" * 4000)

    write_result(path, ResultMessage(records=3))

    assert ResultMessage.model_validate_json(path.read_bytes()).records == 3
    assert os.listdir(tmp_path) == ["termination-log"]


def test_a_result_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StockpotError, match="file"):
        write_result(tmp_path / "file" / "result.json", ResultMessage())


def test_a_mounted_file_is_written_over_in_place(tmp_path: Path) -> None:
    require_namespaces()
    source, log = tmp_path / "source", tmp_path / "log"
    source.write_text("x" * 4000)
    log.touch()
    code = (
        "import sys; from pathlib import Path; from stockpot.api.results import ResultMessage; "
        "from stockpot.workload.result import write_result; "
        "write_result(Path(sys.argv[1]), ResultMessage(records=3))"
    )
    script = 'mount --bind "$1" "$2" && exec "$3" -c "$4" "$2"'

    subprocess.run(
        [*ENTER, "sh", "-c", script, "sh", source, log, sys.executable, code],
        check=True,
        env=environment(),
    )

    assert ResultMessage.model_validate_json(source.read_bytes()).records == 3
    assert log.read_bytes() == b""
