"""The entry point `stockpot-operator`: arguments, logging, signals and exit code."""

import argparse
import logging
import os
import socket
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path

import structlog

from stockpot import __version__
from stockpot.cluster.apiserver.credentials import connect
from stockpot.cluster.apiserver.settings import PATH, read_settings
from stockpot.errors import ExitCode, StockpotError
from stockpot.extras import extra_named
from stockpot.process.interruption import stop_on_signals

PORT = 8080
SWITCH_S = 0.0005
"""How long a computing thread keeps others waiting: reconciles compute, and must not delay the
watches, the Lease, or the record of a deletion."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the operator until it is stopped.

    Raises:
        SystemExit: Always.
    """
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the operator, and return its exit code."""
    parser = argparse.ArgumentParser(prog="stockpot-operator")
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    run_parser = verbs.add_parser("run", help="reconcile soups until stopped by SIGTERM")
    run_parser.add_argument("--settings", type=Path, default=PATH, help="written by the chart")
    run_parser.add_argument("--port", type=int, default=PORT, help="port of probes and /metrics")
    run_parser.add_argument(
        "--grant-key", type=Path, help="the key that signs grants (default: as the settings say)"
    )
    chosen = parser.parse_args(arguments)
    _log_as_json()
    sys.setswitchinterval(SWITCH_S)
    log = structlog.get_logger("stockpot")
    try:
        with extra_named("stockpot-operator"):
            from stockpot.controller.operator import Operator  # noqa: PLC0415 - needs the extra

            settings = read_settings(chosen.settings)
            if chosen.grant_key:
                settings = settings.model_copy(update={"grant_key": str(chosen.grant_key)})
            operator = Operator(connect(), settings, _identity())
    except StockpotError as error:
        log.error(error.message, help=error.help)
        return int(error.exit_code)

    stop_on_signals(operator.stop)
    with operator.answering(chosen.port):
        operator.run()
    return int(ExitCode.OK)


def _identity() -> str:
    """Return a unique identity of this process: a restarted container has another one."""
    return f"{os.environ.get('POD_NAME') or socket.gethostname()}_{uuid.uuid4().hex[:8]}"


def _log_as_json() -> None:
    # Messages of kopf and of other libraries have the same format as ours.
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.EventRenamer("message"),
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


if __name__ == "__main__":
    main()
