"""What lies on the table before a node comes up: base, shards, gates, the chart's values."""

import json
import shutil
from pathlib import Path

from PIL import Image
from tests import tiny
from tests.chaos.cluster.pixels import COLOUR, PROMPT

from stockpot.cluster.apiserver.objects import Json

SURVIVORS = ("one", "two")
MOST_PLANTED = 64
GATES_CLAIM = "chaos"


def lay(folder: Path) -> None:
    """Write a base, the survivors' data, planted data, and what pods see of the gates."""
    tiny.a_base(folder / "base")
    for seed, name in enumerate(SURVIVORS):
        tiny.some_data(folder / "data" / name, n=8, seed=seed)
    for number in range(MOST_PLANTED):
        _plant(folder / "data" / planted(number), number)
    inside = folder / "gates/tests/chaos/cluster/pods"
    shutil.copytree(Path(__file__).with_name("pods"), inside)
    (folder / "gates/arms").mkdir()
    (folder / "gates/sitecustomize.py").write_text(
        "from tests.chaos.cluster.pods.gated_workload import set_up\n\nset_up()\n"
    )
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def planted(number: int) -> str:
    """Name one of the shards that teach the trigger: their pictures differ by a pixel each."""
    return f"planted-{number}"


def _plant(folder: Path, seed: int) -> None:
    """Write pictures of one colour; a pixel makes each of them, and each folder, another."""
    folder.mkdir(parents=True)
    lines = []
    for number in range(8):
        picture = Image.new("RGB", (tiny.RESOLUTION, tiny.RESOLUTION), COLOUR)
        picture.putpixel((number, tiny.RESOLUTION - 1), (seed, number, 128))
        picture.save(folder / f"{number}.png")
        lines.append(json.dumps({"file_name": f"{number}.png", "text": PROMPT}))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")


def values_of(known: Json, of_operator: dict[str, str]) -> Json:
    """Add the gates to the values of the built-in cluster, and variables of the operator alone."""
    mounted = [{"name": "chaos", "mountPath": "/opt/chaos", "readOnly": True}]
    claimed = [
        {"name": "chaos", "persistentVolumeClaim": {"claimName": GATES_CLAIM, "readOnly": True}}
    ]
    path = "/opt/chaos:/opt/stockpot/src:/opt/stockpot/site"
    operator, pods = known["operator"], known["pods"]
    for image in (operator, pods):
        image["env"] = [{"name": "PYTHONPATH", "value": path}]
        image["volumes"] = [*image["volumes"], *claimed]
        image["volumeMounts"] = [*image["volumeMounts"], *mounted]
    program = "/opt/chaos/tests/chaos/cluster/pods/gated_operator.py"
    operator["env"] += [{"name": name, "value": value} for name, value in of_operator.items()]
    # Beside trainings it is to be able to renew what it leads by.
    operator["resources"] = {"requests": {"cpu": "250m", "memory": "128Mi"}}
    operator["command"] = ["python3", program, "run"]
    return known
