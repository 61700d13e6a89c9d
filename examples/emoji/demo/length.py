"""How much work the demo does: the whole story, or with QUICK=1 the same story with less in it."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pictures import PROMPTS
from terminal import EXAMPLE

CHANGES = ("learn", "join", "leave", "forget")
NUMBERS = {3: "three", 4: "four"}
STYLE, FORGOTTEN = "ink", "travel"
QUICK_TRAINING = {
    "maxTrainSteps": 16,
    "checkpointingSteps": 16,
    "ema": {"decay": "0.8"},
    "optimizer": {"name": "AdamW", "options": {"learningRate": "1e-3", "maxGradNorm": "1.0"}},
}


@dataclass(frozen=True)
class Length:
    """What differs between the whole demo and the quick one."""

    members: tuple[str, ...]
    """The shards that are applied first; the last chapter but one deletes one of them."""
    prompts: tuple[str, ...]
    recomputed_in: tuple[str, ...]
    """The steps after which some of the server's answers are drawn again from stored weights."""
    is_quick: bool = False

    @property
    def number(self) -> str:
        """How many members there are, as a word."""
        return NUMBERS[len(self.members)]

    @property
    def survivors(self) -> tuple[str, ...]:
        """The members that stay."""
        return tuple(name for name in self.members if name != FORGOTTEN)

    def first_manifests(self, folder: Path) -> Path:
        """The folder of the soup and its first shards: the example's own, or a quick copy of it."""
        if not self.is_quick:
            return EXAMPLE
        return self._write(folder, self.members, {})

    def proof_manifests(self, folder: Path) -> Path:
        """Write the soup with the survivors alone, neither served nor evaluated."""
        unserved = {"serving": {"replicas": 0}, "evaluation": {}}
        return self._write(folder, self.survivors, unserved)

    def _write(self, folder: Path, members: Sequence[str], spec: Mapping[str, Any]) -> Path:
        folder.mkdir()
        for name in members:
            shutil.copy(EXAMPLE / f"{name}.yaml", folder)
        soup = yaml.safe_load((EXAMPLE / "soup.yaml").read_text())
        if self.is_quick:
            soup["spec"]["training"].update(QUICK_TRAINING)
            soup["spec"]["evaluation"] = {}  # Each takes a process that loads torch.
        soup["spec"]["membership"]["minShards"] = len(members)
        soup["spec"].update(spec)
        # As JSON: unlike PyYAML, kubectl takes an unquoted 5e-4 for a number.
        (folder / "soup.yaml").write_text(json.dumps(soup, indent=2))
        return folder


# A process that loads torch takes seven seconds of a slow core: the quick demo has half as many.
WHOLE = Length(("animals", "food", "travel", "objects"), PROMPTS, CHANGES)
QUICK = Length(("animals", "food", "travel"), PROMPTS[:4], ("learn", "forget"), is_quick=True)
