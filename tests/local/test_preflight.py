"""`stockpot local apply` checks all before it stores anything, and reports each fault's line."""

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.local.tiny_soup import CommandResult, Table, lay

from stockpot.api.v1alpha1 import DataShard, Soup
from stockpot.errors import ExitCode, Refused
from stockpot.local.layout import Layout
from stockpot.local.machine import ServerView, port_faults
from stockpot.local.objects import ObjectFolder
from stockpot.local.session import utc_now

SPARSE_ELEMENTS = 2**37
"""A quarter of a TiB in half precision; the file is sparse."""


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> Table:
    return lay(tmp_path_factory.mktemp("laid"), "cats", serving={"replicas": 0})


@pytest.fixture
def table(laid: Table, tmp_path: Path) -> Table:
    """Base, data and manifests, with nothing applied."""
    return laid.copied(tmp_path / "copy")


def change(table: Table, name: str, **spec: Any) -> None:
    """Rewrite a manifest with other fields. As JSON, which every reader of YAML reads alike."""
    import yaml

    path = table.root / f"{name}.yaml"
    manifest = yaml.safe_load(path.read_text())
    for field, value in spec.items():
        if isinstance(value, dict) and isinstance(manifest["spec"].get(field), dict):
            both = {**manifest["spec"][field], **value}
            manifest["spec"][field] = {key: item for key, item in both.items() if item is not None}
        else:
            manifest["spec"][field] = value
    path.write_text(json.dumps(manifest))


def nothing_is_stored(table: Table) -> bool:
    left = {path.name for path in table.state.iterdir()} if table.state.exists() else set()
    return left <= {"lock", "signing-key.pem", "store"} and not list(table.state.rglob("*.yaml"))


def sparse(base: Path) -> None:
    """Make a base whose header declares large weights."""
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
OUT = "leads out of {root}; set path to a folder inside the claim, without .. or links that"
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
        "cats.yaml:8: DataShard cats: {root}/data/cats is a file, not a folder",
    ),
    "an empty folder of data": (
        empty_data,
        ExitCode.BAD_DATA,
        "DataShard cats: the folder {root}/data/cats is empty; copy the data into it first",
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
            "cats.yaml:1: DataShard cats: the folder {root} contains {root}/state, the folder of "
            "local mode itself; name a folder that does not contain it"
        ),
    ),
    "a prefix that is not there": (
        lambda table: change(table, "cats", source={"pvc": None, "s3": {"prefix": "data/cats/"}}),
        ExitCode.BAD_DATA,
        (
            "cats.yaml:1: DataShard cats: there is no folder {root}/state/store/data/cats; in "
            "local mode, an s3 prefix is a folder below {root}/state/store"
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
        "soup.yaml:6: Soup tiny: there is no folder {root}/base; check the path",
    ),
    "a base that is none": (
        lambda table: (table.root / "base/model_index.json").unlink(),
        ExitCode.BAD_BASE,
        (
            "soup.yaml:6: Soup tiny: {root}/base is no diffusers pipeline folder: it has no "
            "model_index.json; point the base at"
        ),
    ),
    "a base that names code": (
        lambda table: (table.root / "base/unet/config.json").write_text('{"auto_map": {}}'),
        ExitCode.BAD_BASE,
        "soup.yaml:6: Soup tiny: unet/config.json of the base names code to run: auto_map; use",
    ),
    "a base whose index was cut short": (
        lambda table: os.truncate(table.root / "base/model_index.json", 3),
        ExitCode.BAD_BASE,
        "soup.yaml:6: Soup tiny: model_index.json of the base is no JSON",
    ),
    "a base of another pipeline": (
        lambda table: (table.root / "base/model_index.json").write_text('{"_class_name": "Pix"}'),
        ExitCode.BAD_BASE,
        "soup.yaml:6: Soup tiny: the base is a 'Pix', which we do not know; use one of",
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
        "are free, and the weights of 1 shard and their mean need at least 2560.0 GiB; free some",
    ),
    "a receipt that is not there": (
        lambda table: change(table, "cats", relearn="tiny-1"),
        ExitCode.INVALID,
        "cats.yaml:1: DataShard cats: there is no UnlearningReceipt tiny-1; see `stockpot local",
    ),
    "a method that is not installed": (
        lambda table: change(table, "soup", training={"method": {"name": "Slider"}}),
        ExitCode.INVALID,
        "soup.yaml:1: there is no training method Slider; there is FineTune, LoRA; install a",
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
        "the settings in {root}/state/places.json are not valid: JSONDecodeError",
    ),
}


def key(table: Table) -> Path:
    table.state.mkdir(exist_ok=True)
    return table.state / "signing-key.pem"


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_reported_before_anything_is_stored(
    table: Table, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    break_it, code, sentence = FAULTS[name]
    break_it(table)
    result = table.apply("soup", "cats")

    message = " ".join(result.err.replace("\n  help: ", "; ").split())
    assert sentence.replace("{root}", str(table.root)) in message
    assert (result.code, result.out) == (code, "")
    assert not list(table.state.rglob("objects"))
    assert not list(table.state.rglob("runs"))


def test_the_folder_of_a_claim_is_checked(table: Table) -> None:
    file = table.root / "soup.yaml"

    missing = table.run("apply", "-f", file, "--claim", f"here={table.root}/nothing")
    plain = table.run("apply", "-f", file, "--claim", f"here={file}")
    twice = table.run("apply", "-f", file, "--claim", "here=a", "--claim", "here=b")

    assert (missing.code, plain.code, twice.code) == (3, 3, ExitCode.USAGE)
    assert missing.err == (
        f"error: --claim here={table.root}/nothing: there is no folder {table.root}/nothing\n"
    )
    assert f"--claim here={file}: {file} is a file, not a folder" in plain.err
    assert "here is given two folders: a and b" in twice.err
    assert nothing_is_stored(table)


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def test_a_port_in_use_is_refused_before_anything_is_stored(table: Table, taken: int) -> None:
    change(table, "soup", serving={"replicas": 1})

    result = served_at(table, taken, "soup", "cats")

    assert result.code == ExitCode.PORT_TAKEN
    assert result.err == (
        f"error: --port {taken}: the server cannot listen on port {taken} of 127.0.0.1: "
        "Address already in use\n"
        f"  help: stop the process on it (ss -ltnp 'sport = :{taken}'), or set another: --port\n"
    )
    assert nothing_is_stored(table)


def test_two_soups_cannot_be_served_on_one_port(table: Table) -> None:
    change(table, "soup", serving={"replicas": 1})
    other = (table.root / "soup.yaml").read_text().replace('"tiny"', '"other"')
    (table.root / "other.yaml").write_text(other)

    result = served_at(table, 54321, "soup", "other")

    assert result.code == ExitCode.PORT_TAKEN
    assert (
        "--port 54321: several Soups cannot be served on the same port 54321: other, tiny"
        in result.err
    )
    assert nothing_is_stored(table)


def served_at(table: Table, port: int, *names: str) -> CommandResult:
    files = [part for name in names for part in ("-f", table.root / f"{name}.yaml")]
    return table.run("apply", *files, "--claim", f"here={table.root}", "--port", str(port))


def test_all_faults_are_reported_at_once(table: Table, taken: int) -> None:
    change(table, "soup", serving={"replicas": 1}, training={"method": {"name": "Slider"}})
    change(table, "cats", weight=0.5, **source("../cats"))
    shutil.rmtree(table.root / "base")
    key(table).write_text("no key")

    result = served_at(table, taken, "soup", "cats")

    assert result.code == ExitCode.INVALID
    assert result.err.startswith("error: 5 mistakes\n")
    for words in (
        "soup.yaml:1: there is no training method Slider",
        'cats.yaml:1: spec.weight is 0.5, a number; write it in quotes: weight: "0.5"',
        f"the server cannot listen on port {taken} of 127.0.0.1",
        "is not a private key in PEM",
        f"soup.yaml:1: Soup tiny: there is no folder {table.root}/base",
    ):
        assert words in result.err
    assert nothing_is_stored(table)


def test_ignored_settings_are_noted(table: Table) -> None:
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
    result = table.run("apply", *(part for pair in files for part in pair), *claims, "--no-wait")

    assert result.code == 0, result.err
    assert result.err.replace(str(table.root), "DIR").splitlines() == [
        "note: DIR/map.yaml:1: ConfigMap settings is not Stockpot's, and is left aside",
        "note: --claim: no object uses the claim there; claims in use: here",
        "note: DIR/soup.yaml:1: Soup tiny: spec.serving.replicas is 3; local mode runs one server",
        (
            "note: DIR/soup.yaml:1: Soup tiny: spec.store.name is fast; local mode has one store, "
            "in "
            "its own folder"
        ),
        (
            "note: DIR/cats.yaml:5: DataShard cats: finalizers are ignored: example.com/keep; "
            "no component of local mode would remove them"
        ),
        (
            "note: there is no signing key: deleting a shard will wait for one; make one: "
            "stockpot keygen --out DIR/state/signing-key.pem"
        ),
    ]


def test_a_running_server_does_not_change_its_port() -> None:
    running = ServerView("tiny", is_running=True, port=8000)

    [fault] = port_faults([running], 9000, is_new=True)

    assert fault.exit_code == ExitCode.PORT_TAKEN
    assert str(fault.complaint) == (
        "--port 9000: the server of Soup tiny already listens on port 8000; end the server with "
        "`stockpot local down`, then apply again"
    )
    assert list(port_faults([running], 8000, is_new=True)) == []
    assert list(port_faults([running], 0, is_new=True)) == []
    assert list(port_faults([running], 9000, is_new=False)) == []


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


def test_a_damaged_object_is_refused_by_its_path(table: Table) -> None:
    path = Layout(table.state).object("default", "soups", "tiny")
    path.parent.mkdir(parents=True)
    path.write_text("kind: Soup\n")

    with pytest.raises(Refused, match=r"soups/tiny\.yaml is not valid: ValidationError"):
        ObjectFolder(Layout(table.state)).read(Soup, "default", "tiny")


def test_lint_and_local_mode_report_the_same_faults(table: Table) -> None:
    change(table, "soup", training={"optimizer": {"options": {"lr": "1"}}, "snrGamma": "0"})

    done = subprocess.run(
        table.command("lint", table.root / "soup.yaml"), capture_output=True, text=True, check=False
    )

    assert done.stderr == table.apply("soup").err
    assert done.returncode == ExitCode.INVALID
