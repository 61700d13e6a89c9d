"""The verifier's commands on a soup that really ran: its store, its key, its server."""

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
    """Somebody with the public key and the store's folder, and nothing else."""

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
    """A soup that forgot bees, and serves on."""
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

    said = outsider.run("verify", "--head", head_of(outsider), "--url", url)

    assert (said.code, said.err) == (ExitCode.OK, "")
    assert "\nreceipt 1, shard bees\n" in said.out
    assert "  ✓ the successor is the exact mean of its ingredients, bit by bit\n" in said.out
    assert f"\nthe server at {url}\n" in said.out
    assert "~ it answers from what was never made with a forgotten shard" in said.out
    assert f"averaged again here: {outsider.table.weights()}" in said.out
    assert f"--head {head_of(outsider)}" in said.out


def test_without_a_head_it_ends_with_8(outsider: Outsider) -> None:
    said = outsider.run("verify", "--json")

    assert said.code == ExitCode.NOT_PROVEN
    report = json.loads(said.out)
    [open_one] = [one for one in report["checks"] if one["verdict"] == "NotCheckable"]
    assert (open_one["about"], open_one["claim"]) == ("the chain", "it is complete")
    assert report["head"] == head_of(outsider)


def test_another_head_ends_with_9_and_names_the_cause(outsider: Outsider) -> None:
    said = outsider.run("verify", "--head", "2:sha256:" + "0" * 64)

    assert said.code == ExitCode.DISPROVEN
    assert "✗ it is complete up to the head that was given" in said.out
    assert "it was cut off or rolled back: the head is number 2" in said.out
    assert "Keep the head" not in said.out


def test_an_empty_head_is_a_mistake_and_not_none(outsider: Outsider) -> None:
    assert outsider.run("verify", "--head", "").code == ExitCode.USAGE


def test_the_audit_tells_the_history_on_the_terminal_and_on_a_page(
    outsider: Outsider, tmp_path: Path
) -> None:
    page = tmp_path / "audit.html"

    said = outsider.run("audit", "--head", head_of(outsider), "--html", page)

    assert (said.code, said.err) == (ExitCode.OK, "")
    rows = {line.split()[0]: line for line in said.out.splitlines() if line}
    assert {"cats", "bees"} <= rows.keys()
    assert "forgotten (1)" in rows["bees"]
    text = page.read_text()
    assert "forgotten, receipt 1" in text
    for elsewhere in ("http:", "https:", "<script", "src=", "url("):
        assert elsewhere not in text


def test_the_audit_as_json_has_the_report_in_it(outsider: Outsider) -> None:
    said = outsider.run("audit", "--json")

    history = json.loads(said.out)
    uids = {one["name"]: one["shard"] for one in history["members"]}
    assert said.code == ExitCode.NOT_PROVEN
    [passage] = history["passages"]
    assert passage["shard"] == uids["bees"]
    assert set(passage["members"]) == {uids["cats"]}
    assert history["report"]["receipts"] == 1


def test_a_revision_made_after_the_receipt_is_as_good(outsider: Outsider) -> None:
    # The last of these: it changes what serves.
    # The same data as the bees', who are forgotten: it comes back only where the receipt is named.
    path = outsider.table.root / "bees.yaml"
    shard = yaml.safe_load(path.read_text())
    shard["metadata"]["name"] = "wasps"
    shard["spec"]["relearn"] = f"tiny-{outsider.table.soup().metadata.uid[:8]}-0001"
    path.write_text(yaml.safe_dump(shard))
    assert outsider.table.apply("bees").code == 0

    url = outsider.table.url()
    said = outsider.run("verify", "--head", head_of(outsider), "--url", url)

    assert said.code == ExitCode.OK, said.out
    assert "it says that a later revision drew the picture" in said.out
