"""`stockpot verify` and `audit` on a soup that was trained: its store, its key, its server."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from tests.local.tiny_soup import CommandResult, Table, environment, lay

from stockpot.errors import ExitCode

pytestmark = pytest.mark.timeout(900)


@dataclass(frozen=True)
class Outsider:
    """Runs commands with the public key and the store's folder, and nothing else."""

    table: Table

    def run(self, command: str, *arguments: str | Path) -> CommandResult:
        place = ("--store", self.table.state / "store")
        key = ("--key", self.table.state / "signing-key.pem.pub")
        done = subprocess.run(
            self.table.command(command, "soup/tiny", *place, *key, *arguments),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            env=environment() | {"COLUMNS": "120"},
        )
        return CommandResult(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def outsider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outsider]:
    """A soup that unlearned bees, and serves the rest."""
    table = lay(tmp_path_factory.mktemp("soup"), "cats", "bees")
    try:
        table.keygen()
        assert table.apply("soup", "cats", "bees").code == 0
        gone = table.delete("bees")
        assert gone.code == 0, gone.err
        yield Outsider(table)
    finally:
        table.down()


def head_of(outsider: Outsider) -> str:
    receipts = outsider.table.soup().status.receipts
    return f"{receipts.count}:{receipts.head}"


def test_a_soup_is_verified_with_its_key_its_store_and_its_server(outsider: Outsider) -> None:
    url = outsider.table.url()

    result = outsider.run("verify", "--head", head_of(outsider), "--url", url)

    assert (result.code, result.err) == (ExitCode.OK, "")
    assert "\nreceipt 1, shard bees\n" in result.out
    assert "  ✓ the successor is the exact mean of its ingredients, bit by bit\n" in result.out
    assert f"\nthe server at {url}\n" in result.out
    assert "~ it answers from what was never made with a forgotten shard" in result.out
    assert f"averaged again here: {outsider.table.weights()}" in result.out
    assert f"--head {head_of(outsider)}" in result.out


def test_without_a_head_verify_exits_with_8(outsider: Outsider) -> None:
    result = outsider.run("verify", "--json")

    assert result.code == ExitCode.NOT_PROVEN
    report = json.loads(result.out)
    [open_check] = [check for check in report["checks"] if check["verdict"] == "NotCheckable"]
    assert (open_check["about"], open_check["claim"]) == ("the chain", "it is complete")
    assert report["head"] == head_of(outsider)


def test_another_head_exits_with_9_and_names_the_cause(outsider: Outsider) -> None:
    result = outsider.run("verify", "--head", "2:sha256:" + "0" * 64)

    assert result.code == ExitCode.DISPROVEN
    assert "✗ it is complete up to the head that was given" in result.out
    assert "it was cut off or rolled back: the head is number 2" in result.out
    assert "Record the head" not in result.out


def test_an_empty_head_is_a_usage_error(outsider: Outsider) -> None:
    assert outsider.run("verify", "--head", "").code == ExitCode.USAGE


def test_the_audit_prints_the_history_and_writes_a_page(outsider: Outsider, tmp_path: Path) -> None:
    page = tmp_path / "audit.html"

    result = outsider.run("audit", "--head", head_of(outsider), "--html", page)

    assert (result.code, result.err) == (ExitCode.OK, "")
    rows = {line.split()[0]: line for line in result.out.splitlines() if line}
    assert {"cats", "bees"} <= rows.keys()
    assert "forgotten (1)" in rows["bees"]
    text = page.read_text()
    assert "forgotten, receipt 1" in text
    for elsewhere in ("http:", "https:", "<script", "src=", "url("):
        assert elsewhere not in text


def test_the_audit_as_json_contains_the_report(outsider: Outsider) -> None:
    result = outsider.run("audit", "--json")

    history = json.loads(result.out)
    uids = {member["name"]: member["shard"] for member in history["members"]}
    assert result.code == ExitCode.NOT_PROVEN
    [passage] = history["passages"]
    assert passage["shard"] == uids["bees"]
    assert set(passage["members"]) == {uids["cats"]}
    assert history["report"]["receipts"] == 1


def test_a_revision_made_after_the_receipt_passes(outsider: Outsider) -> None:
    # The last test of this module: it changes what is served.
    # The same data as the unlearned shard bees: it is accepted only if `relearn` names the receipt.
    path = outsider.table.root / "bees.yaml"
    shard = yaml.safe_load(path.read_text())
    shard["metadata"]["name"] = "wasps"
    shard["spec"]["relearn"] = f"tiny-{outsider.table.soup().metadata.uid[:8]}-0001"
    path.write_text(yaml.safe_dump(shard))
    assert outsider.table.apply("bees").code == 0

    url = outsider.table.url()
    result = outsider.run("verify", "--head", head_of(outsider), "--url", url)

    assert result.code == ExitCode.OK, result.out
    assert "it says that a later revision drew the picture" in result.out
