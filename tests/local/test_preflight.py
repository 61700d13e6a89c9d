"""What `stockpot local apply` says before it stores or starts anything: all, each with its line."""

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.local.tiny_soup import Ended, Table, lay

from stockpot.api.v1alpha1 import DataShard, Soup
from stockpot.errors import ExitCode, Refused
from stockpot.local.layout import Layout
from stockpot.local.machine import ServerView, port_faults
from stockpot.local.objects import ObjectFolder
from stockpot.local.session import utc_now

SPARSE_ELEMENTS = 2**37
"""A quarter of a TiB in half precision, of which no byte is written."""


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> Table:
    return lay(tmp_path_factory.mktemp("laid"), "cats", serving={"replicas": 0})


@pytest.fixture
def table(laid: Table, tmp_path: Path) -> Table:
    """Base, data and manifests, and nothing applied."""
    return laid.copied(tmp_path / "copy")


def change(table: Table, name: str, **spec: Any) -> None:
    """Write a manifest anew, with other fields. JSON, which every reader of YAML reads alike."""
    import yaml

    path = table.root / f"{name}.yaml"
    manifest = yaml.safe_load(path.read_text())
    for field, value in spec.items():
        if isinstance(value, dict) and isinstance(manifest["spec"].get(field), dict):
            both = {**manifest["spec"][field], **value}
            manifest["spec"][field] = {name: one for name, one in both.items() if one is not None}
        else:
            manifest["spec"][field] = value
    path.write_text(json.dumps(manifest))


def nothing_is_stored(table: Table) -> bool:
    left = {path.name for path in table.state.iterdir()} if table.state.exists() else set()
    return left <= {"lock", "signing-key.pem", "store"} and not list(table.state.rglob("*.yaml"))


def sparse(base: Path) -> None:
    """Make a base that says of itself that it is large."""
    header = {
        "w": {
            "dtype": "F16",
            "shape": [SPARSE_ELEMENTS],
            "data_offsets": [0, 2 * SPARSE_ELEMENTS],
        }
    }
    text = json.dumps(header).encode()
    with (base / "unet/diffusion_pytorch_model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + 2 * SPARSE_ELEMENTS)


def link_out(table: Table) -> None:
    shutil.rmtree(table.root / "data/cats")
    (table.root.parent / "elsewhere").mkdir()
    (table.root / "data/cats").symlink_to(table.root.parent / "elsewhere")


def link_to_itself(table: Table) -> None:
    shutil.rmtree(table.root / "data/cats")
    (table.root / "data/cats").symlink_to(table.root / "data/cats")


def file_of_data(table: Table) -> None:
    shutil.rmtree(table.root / "data/cats")
    (table.root / "data/cats").write_text("no folder")


def empty_data(table: Table) -> None:
    shutil.rmtree(table.root / "data/cats")
    (table.root / "data/cats").mkdir()


def source(path: str) -> dict[str, Any]:
    return {"source": {"pvc": {"claimName": "here", "path": path}}}


Break = Callable[[Table], object]
OUT = "leads out of {root}; path may not leave the claim: name a folder below its root, without .."
FAULTS: Mapping[str, tuple[Break, ExitCode, str]] = {
    "data that is not there": (
        lambda table: change(table, "cats", **source("data/cat")),
        ExitCode.BAD_DATA,
        (
            "cats.yaml:1: DataShard cats: there is no folder {root}/data/cat; "
            "did you mean {root}/data/cats?"
        ),
    ),
    "data that is a file": (
        file_of_data,
        ExitCode.BAD_DATA,
        "cats.yaml:8: DataShard cats: {root}/data/cats is a file, and a folder is needed",
    ),
    "an empty folder of data": (
        empty_data,
        ExitCode.BAD_DATA,
        "cats.yaml:8: DataShard cats: {root}/data/cats is empty; put the data there first",
    ),
    "a path that leaves the claim": (
        lambda table: change(table, "cats", **source("../data")),
        ExitCode.INVALID,
        "cats.yaml:1: spec.source.pvc.path is ../data; path may not leave the claim",
    ),
    "a link that leaves the claim": (
        link_out,
        ExitCode.INVALID,
        f"cats.yaml:8: DataShard cats: the path data/cats of the claim here {OUT}",
    ),
    "a link that leads to itself": (
        link_to_itself,
        ExitCode.INVALID,
        f"cats.yaml:8: DataShard cats: the path data/cats of the claim here {OUT}",
    ),
    "data among which the store is": (
        lambda table: change(table, "cats", **source("")),
        ExitCode.BAD_DATA,
        (
            "cats.yaml:1: DataShard cats: {root} contains {root}/state, in which local mode keeps "
            "objects and weights; name a folder within it"
        ),
    ),
    "a prefix that is not there": (
        lambda table: change(table, "cats", source={"pvc": None, "s3": {"prefix": "data/cats/"}}),
        ExitCode.BAD_DATA,
        (
            "cats.yaml:1: DataShard cats: there is no folder {root}/state/store/data/cats; in "
            "local "
            "mode a prefix is a folder below {root}/state/store"
        ),
    ),
    "held-out records that are not there": (
        lambda table: change(table, "soup", evaluation=source("data/held")),
        ExitCode.BAD_DATA,
        (
            "soup.yaml:1: Soup tiny: there is no folder {root}/data/held; did you mean "
            "{root}/data/heldout?"
        ),
    ),
    "a base that is not there": (
        lambda table: shutil.rmtree(table.root / "base"),
        ExitCode.BAD_BASE,
        "soup.yaml:6: Soup tiny: there is no folder {root}/base; look at the path",
    ),
    "a base that is none": (
        lambda table: (table.root / "base/model_index.json").unlink(),
        ExitCode.BAD_BASE,
        (
            "soup.yaml:6: Soup tiny: {root}/base is no diffusers pipeline folder: it has no "
            "model_index.json; point the base at"
        ),
    ),
    "a base that brings code": (
        lambda table: (table.root / "base/unet/model.py").write_text("print('hello')"),
        ExitCode.BAD_BASE,
        "soup.yaml:6: Soup tiny: the base {root}/base holds unet/model.py: it is code; keep",
    ),
    "a base that was cut short": (
        lambda table: os.truncate(table.root / "base/vae/config.json", 3),
        ExitCode.BAD_BASE,
        "soup.yaml:6: Soup tiny: vae/config.json of the base is no JSON",
    ),
    "a resolution that is none of the base": (
        lambda table: change(table, "soup", training={"resolution": 18}),
        ExitCode.BAD_RUN_SPEC,
        (
            "soup.yaml:1: Soup tiny: a resolution of 18 pixels is no multiple of 4, which is what "
            "one "
            "latent of the base spans; change training.resolution of the Soup"
        ),
    ),
    "half precision without a GPU": (
        lambda table: change(table, "soup", training={"mixedPrecision": "fp16"}),
        ExitCode.BAD_RUN_SPEC,
        "soup.yaml:1: Soup tiny: mixedPrecision fp16 needs a GPU, and there is none; set",
    ),
    "a base too large for the disk": (
        lambda table: sparse(table.root / "base"),
        ExitCode.STORAGE,
        "free, and the weights of 1 shard and their mean take at least 2560.0 GiB; free some",
    ),
    "a receipt that is not there": (
        lambda table: change(table, "cats", relearn="tiny-1"),
        ExitCode.INVALID,
        "cats.yaml:1: DataShard cats: there is no UnlearningReceipt tiny-1; see `stockpot local",
    ),
    "a method that is not installed": (
        lambda table: change(table, "soup", training={"method": {"name": "LoRA"}}),
        ExitCode.INVALID,
        "soup.yaml:1: there is no training method LoRA; there is FineTune; install a package",
    ),
    "an option that there is not": (
        lambda table: change(table, "soup", training={"optimizer": {"options": {"lr": "1"}}}),
        ExitCode.INVALID,
        "soup.yaml:1: AdamW has no option lr; its options are learningRate, ",
    ),
    "a weighting that there is not": (
        lambda table: change(table, "soup", merge={"weighting": {"name": "Declaredd"}}),
        ExitCode.INVALID,
        "soup.yaml:1: there is no weighting Declaredd; there is Declared; did you mean Declared?",
    ),
    "an evaluator that there is not": (
        lambda table: change(table, "soup", evaluation={"suite": [{"name": "beauty"}]}),
        ExitCode.INVALID,
        "soup.yaml:1: there is no evaluator beauty; there is heldout_loss, samples, style; ",
    ),
    "a key that is none": (
        lambda table: key(table).write_text("no key"),
        ExitCode.NO_SIGNING_KEY,
        "{root}/state/signing-key.pem is not a private key in PEM; make one: stockpot keygen",
    ),
    "a key that is a folder": (
        lambda table: key(table).mkdir(),
        ExitCode.NO_SIGNING_KEY,
        "there is no signing key at {root}/state/signing-key.pem",
    ),
    "places that are damaged": (
        lambda table: (key(table).parent / "places.json").write_text("{"),
        ExitCode.INVALID,
        "{root}/state/places.json cannot be understood: JSONDecodeError",
    ),
}


def key(table: Table) -> Path:
    table.state.mkdir(exist_ok=True)
    return table.state / "signing-key.pem"


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_said_before_anything_is_stored(
    table: Table, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    break_it, code, sentence = FAULTS[name]
    break_it(table)
    said = table.apply("soup", "cats")

    told = " ".join(said.err.replace("\n  help: ", "; ").split())
    assert sentence.replace("{root}", str(table.root)) in told
    assert (said.code, said.out) == (code, "")
    assert not list(table.state.rglob("objects"))
    assert not list(table.state.rglob("runs"))


def test_a_claim_is_looked_at_where_it_is_named(table: Table) -> None:
    file = table.root / "soup.yaml"

    missing = table.run("apply", "-f", file, "--claim", f"here={table.root}/nothing")
    plain = table.run("apply", "-f", file, "--claim", f"here={file}")
    twice = table.run("apply", "-f", file, "--claim", "here=a", "--claim", "here=b")

    assert (missing.code, plain.code, twice.code) == (3, 3, ExitCode.USAGE)
    assert missing.err == (
        f"error: --claim here={table.root}/nothing: there is no folder {table.root}/nothing\n"
    )
    assert f"--claim here={file}: {file} is a file, and a folder is needed" in plain.err
    assert "here is given two folders: a and b" in twice.err
    assert nothing_is_stored(table)


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def test_a_port_that_is_taken_is_named_before_anything_is_stored(table: Table, taken: int) -> None:
    change(table, "soup", serving={"replicas": 1})

    said = served_at(table, taken, "soup", "cats")

    assert said.code == ExitCode.PORT_TAKEN
    assert said.err == (
        f"error: --port {taken}: port {taken} of 127.0.0.1 cannot be used: Address already in use\n"
        f"  help: end what uses it (ss -ltnp 'sport = :{taken}'), or choose another: --port\n"
    )
    assert nothing_is_stored(table)


def test_two_soups_cannot_be_served_on_one_port(table: Table) -> None:
    change(table, "soup", serving={"replicas": 1})
    other = (table.root / "soup.yaml").read_text().replace('"tiny"', '"other"')
    (table.root / "other.yaml").write_text(other)

    said = served_at(table, 54321, "soup", "other")

    assert said.code == ExitCode.PORT_TAKEN
    assert "--port 54321: several Soups would be served on port 54321: other, tiny" in said.err
    assert nothing_is_stored(table)


def served_at(table: Table, port: int, *names: str) -> Ended:
    files = [part for name in names for part in ("-f", table.root / f"{name}.yaml")]
    return table.run("apply", *files, "--claim", f"here={table.root}", "--port", str(port))


def test_everything_is_said_at_once(table: Table, taken: int) -> None:
    change(table, "soup", serving={"replicas": 1}, training={"method": {"name": "LoRA"}})
    change(table, "cats", weight=0.5, **source("../cats"))
    shutil.rmtree(table.root / "base")
    key(table).write_text("no key")

    said = served_at(table, taken, "soup", "cats")

    assert said.code == ExitCode.INVALID
    assert said.err.startswith("error: 5 mistakes\n")
    for words in (
        "soup.yaml:1: there is no training method LoRA",
        'cats.yaml:1: spec.weight is 0.5, a number; write it in quotes: weight: "0.5"',
        f"port {taken} of 127.0.0.1 cannot be used",
        "is not a private key in PEM",
        f"soup.yaml:1: Soup tiny: there is no folder {table.root}/base",
    ):
        assert words in said.err
    assert nothing_is_stored(table)


def test_what_is_not_used_as_it_stands_is_noted(table: Table) -> None:
    change(table, "soup", serving={"replicas": 3}, store={"name": "fast"})
    text = (table.root / "cats.yaml").read_text()
    (table.root / "cats.yaml").write_text(
        text.replace("name: cats", "name: cats\n  finalizers: [example.com/keep]", 1)
    )
    (table.root / "map.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n"
    )
    (table.root / "b").mkdir()

    files = [("-f", table.root / f"{name}.yaml") for name in ("soup", "cats", "map")]
    claims = ("--claim", f"here={table.root}", "--claim", f"there={table.root}/b")
    said = table.run("apply", *(part for pair in files for part in pair), *claims, "--no-wait")

    assert said.code == 0, said.err
    assert said.err.replace(str(table.root), "DIR").splitlines() == [
        "note: DIR/map.yaml:1: ConfigMap settings is not Stockpot's, and is left aside",
        "note: --claim: no object names the claim there; claims that are named: here",
        "note: DIR/soup.yaml:1: Soup tiny: spec.serving.replicas is 3; local mode runs one server",
        (
            "note: DIR/soup.yaml:1: Soup tiny: spec.store.name is fast; local mode has one store, "
            "in "
            "its own folder"
        ),
        (
            "note: DIR/cats.yaml:5: DataShard cats: finalizers are not kept: example.com/keep; "
            "nothing "
            "in local mode would take them away"
        ),
        (
            "note: there is no signing key, and a deletion waits for one; make it: stockpot keygen "
            "--out DIR/state/signing-key.pem"
        ),
    ]


def test_a_server_that_answers_elsewhere_is_not_moved_in_silence() -> None:
    running = ServerView("tiny", is_running=True, port=8000)

    [fault] = port_faults([running], 9000, is_told=True)

    assert fault.exit_code == ExitCode.PORT_TAKEN
    assert str(fault.complaint) == (
        "--port 9000: the server of Soup tiny answers on port 8000 already; end it first, then "
        "apply again: stockpot local down"
    )
    assert list(port_faults([running], 8000, is_told=True)) == []
    assert list(port_faults([running], 0, is_told=True)) == []
    assert list(port_faults([running], 9000, is_told=False)) == []


def test_labels_that_are_changed_are_kept(table: Table) -> None:
    folder = ObjectFolder(Layout(table.state))
    spec = {"soupRef": {"name": "tiny"}, **source("data/cats")}

    def apply(**metadata: Any) -> str:
        shard = DataShard.model_validate({"metadata": {"name": "cats", **metadata}, "spec": spec})
        return folder.apply(shard, utc_now())

    done = [apply(), apply(), apply(labels={"tier": "gold"}), apply(labels={"tier": "gold"})]

    stored = folder.read(DataShard, "default", "cats")
    assert done == ["created", "unchanged", "configured", "unchanged"]
    assert stored is not None
    assert (stored.metadata.labels, stored.metadata.generation) == ({"tier": "gold"}, 1)


def test_an_object_that_was_edited_by_hand_is_named(table: Table) -> None:
    path = Layout(table.state).object("default", "soups", "tiny")
    path.parent.mkdir(parents=True)
    path.write_text("kind: Soup\n")

    with pytest.raises(Refused, match=r"soups/tiny\.yaml cannot be understood: ValidationError"):
        ObjectFolder(Layout(table.state)).read(Soup, "default", "tiny")


def test_lint_and_local_mode_say_the_same_of_the_same_file(table: Table) -> None:
    change(table, "soup", training={"optimizer": {"options": {"lr": "1"}}, "snrGamma": "0"})

    done = subprocess.run(
        table.command("lint", table.root / "soup.yaml"), capture_output=True, text=True, check=False
    )

    assert done.stderr == table.apply("soup").err
    assert done.returncode == ExitCode.INVALID
