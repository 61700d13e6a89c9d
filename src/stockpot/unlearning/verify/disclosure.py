"""Finds the receipt that covers a record, given the record's opening."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from stockpot.errors import ExitCode, Refused
from stockpot.unlearning.chain import Link
from stockpot.unlearning.commitments import Opening, commitment_of
from stockpot.unlearning.verify.verdict import Check, proven, unknown


def read_openings(path: Path) -> tuple[Opening, ...]:
    """Read openings from a file, one per line, as `stockpot opening` prints them.

    Raises:
        Refused: The file is missing, or a line is not an opening (exit 2).
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return tuple(Opening.model_validate_json(line) for line in lines if line.strip())
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise Refused(
            f"{path} is not a readable list of openings",
            help="give the lines that `stockpot opening` printed before the records were excluded",
            exit_code=ExitCode.USAGE,
        ) from error


def check_openings(openings: Sequence[Opening], entries: Sequence[Link]) -> Iterator[Check]:
    """Find for each record the receipt that covers it."""
    for opening in openings:
        commitment = commitment_of(opening)
        about, claim = f"record {opening.record}", "a receipt says that it was left out"
        matches = [
            link
            for link in entries
            if link.statement and commitment in link.statement.predicate.commitments
        ]
        if matches:
            statement = matches[-1].statement
            name = statement.predicate.shard.name if statement else ""
            why = f"receipt {matches[-1].sequence}, shard {name}, has the commitment that it opens"
            yield proven(about, claim, why)
        else:
            yield unknown(about, claim, f"none has {commitment}, which its opening opens")
