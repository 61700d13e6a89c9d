"""Whatever stands in a file, it is read, refused or left aside; and never a traceback."""

import random
from datetime import UTC, datetime

import pytest
from tests.manifest_corpus import agreed

from stockpot.api.options import Installed
from stockpot.api.reading import read_text
from stockpot.core.manifest_notes import crosscheck, notes

NOW = datetime(2026, 11, 22, tzinfo=UTC)
TEXTS = [text for _, text in agreed() if isinstance(text, str) and len(text) < 3000]
PIECES = (
    *("{", "}", "[", "]", ":", ",", '"', "'", "\n", "  ", "- ", "| ", "> ", "#", "? ", "\t", "-"),
    *("&a {", "*a", "<<: ", "---\n", "...\n", "%", "{{", "\ufeff", "\u2028", "é", "😀", "\\ud800"),
    *(f"!!{tag} " for tag in ("int", "float", "bool", "null", "timestamp", "map", "seq", "omap")),
    *("!x ", "!!merge ", "!!python/object:os.system ", "null", "yes", "1e5", "0x", "9" * 40),
    *(".inf", ".nan", "1:2", "2027-01-01T00:00:00Z", "kind: List\nitems:", "metadata: ", "spec: "),
    *("status: ", "labels: ", "finalizers: [a]", "managedFields: x", "suite: [{name: style}]"),
)


@pytest.mark.parametrize("seed", range(8))
def test_a_manifest_in_which_anything_was_changed_is_answered(seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(250):
        text = changed(dice.choice(TEXTS), dice)

        read = read_text(text, "f.yaml", Installed())
        complaints = [*read.complaints, *read.notes, *crosscheck(read.manifests)]
        complaints += notes(read.manifests, NOW)

        assert read.manifests or read.complaints or read.notes, text
        assert all(str(complaint) for complaint in complaints), text


def changed(text: str, dice: random.Random) -> str:
    for _ in range(dice.randint(1, 4)):
        begin = dice.randint(0, len(text))
        end = begin + dice.choice((0, 0, 1, 3, 10))
        text = text[:begin] + dice.choice(PIECES) + text[end:]
    return text
