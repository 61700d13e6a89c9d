"""A mistyped `kubectl delete soup` is refused while the Soup has shards: a real API server judges.

The operator is away here: `status.shards.total` is written by the test.
"""

import json
from collections.abc import Iterator

import pytest
from devcluster.api import wait_until
from tests.chart.conftest import Shell

SOUP = {
    "apiVersion": "stockpot.dev/v1alpha1",
    "kind": "Soup",
    "metadata": {"name": "emoji", "namespace": "studio"},
    "spec": {"base": {"s3": {"prefix": "bases/emoji"}}},
}
WHICH = ("soup", "emoji", "-n", "studio")


@pytest.fixture
def soup(installed: Shell) -> Iterator[Shell]:
    """A Soup in `studio`, with the chart's policies in force."""
    installed("kubectl", "create", "-f", "-", stdin=json.dumps(SOUP))
    has_shards(installed, 1)
    wait_until(lambda: delete(installed, dry=True), "the policy is in force", within_s=60)
    yield installed
    has_shards(installed, 0)
    installed.run("kubectl", "delete", *WHICH, "--ignore-not-found")


def has_shards(shell: Shell, number: int) -> None:
    status = json.dumps({"status": {"shards": {"total": number}}})
    shell.run("kubectl", "patch", *WHICH, "--subresource=status", "--type=merge", "-p", status)


def delete(shell: Shell, *, dry: bool = False) -> str:
    """Delete it as the admin; give what the API server objects to."""
    ended = shell.run("kubectl", "delete", *WHICH, *(["--dry-run=server"] if dry else []))
    return ended.stderr if ended.returncode else ""


def annotate(shell: Shell, annotation: str) -> None:
    shell("kubectl", "annotate", *WHICH, annotation)


def test_a_soup_with_shards_is_not_deleted_and_the_message_says_what_to_do(soup: Shell) -> None:
    has_shards(soup, 3)

    refusal = delete(soup)

    assert "Soup emoji has 3 DataShards: deleting it would end what is served" in refusal
    assert "help: delete its DataShards first (kubectl get shard -n studio)" in refusal
    assert "kubectl annotate soup -n studio emoji stockpot.dev/allow-deletion=true" in refusal
    assert soup.run("kubectl", "get", *WHICH).returncode == 0
    has_shards(soup, 1)
    assert "Soup emoji has 1 DataShard: " in delete(soup)


def test_a_soup_without_shards_is_deleted(soup: Shell) -> None:
    has_shards(soup, 0)

    assert delete(soup) == ""


def test_a_soup_that_was_never_reconciled_is_deleted(soup: Shell) -> None:
    status = json.dumps({"status": None})
    soup("kubectl", "patch", *WHICH, "--subresource=status", "--type=merge", "-p", status)

    assert delete(soup) == ""


@pytest.mark.parametrize("annotation", ["allow-deletion", "force-delete"])
def test_an_annotation_lets_it_be_deleted(soup: Shell, annotation: str) -> None:
    annotate(soup, f"stockpot.dev/{annotation}=true")

    assert delete(soup) == ""


def test_an_annotation_that_says_no_does_not(soup: Shell) -> None:
    annotate(soup, "stockpot.dev/allow-deletion=false")

    assert "has 1 DataShard" in delete(soup)


def test_a_namespace_takes_its_soups_with_it(soup: Shell) -> None:
    """The namespace controller is not refused: a namespace would never end."""
    answer = soup.run(
        "kubectl",
        "delete",
        *WHICH,
        "--dry-run=server",
        "--as=system:serviceaccount:kube-system:namespace-controller",
    )

    assert answer.returncode == 0, answer.stderr
