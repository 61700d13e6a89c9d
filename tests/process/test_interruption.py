"""Signals to stop: an event is set, and work ends with exit code 75."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from stockpot.errors import ExitCode, StockpotError
from stockpot.process.interruption import raise_if_stopping, stop_on_signals


@pytest.fixture
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_stop_ends_the_work_at_the_next_check(number: signal.Signals) -> None:
    stop = stop_on_signals(threading.Event())
    raise_if_stopping(stop)

    os.kill(os.getpid(), number)

    with pytest.raises(StockpotError, match="with nothing to save") as error:
        raise_if_stopping(stop)
    assert error.value.exit_code is ExitCode.INTERRUPTED
