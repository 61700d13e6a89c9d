"""What Soups and DataShards of a namespace may name, as a real API server judges it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from devcluster.api import wait_until
from tests.chart.conftest import CHART, VALUES, Render, Shell

ALLOWED = {
    "studio": {
        "data": ["studio/data/", "shared/data/"],
        "bases": ["bases/"],
        "evaluation": ["studio/held-out/"],
        "claims": ["emoji"],
    }
}
UPGRADE = (
    *("helm", "upgrade", "stockpot", str(CHART), "-n", "stockpot-system"),
    f"--values={VALUES['least']}",
    "--no-hooks",  # No node runs them here.
)

Spec = dict[str, Any]


def s3(prefix: str) -> Spec:
    return {"s3": {"prefix": prefix}}


def pvc(claim: str) -> Spec:
    return {"pvc": {"claimName": claim}}


def a_shard(source: Spec, name: str = "food") -> Spec:
    return an_object("DataShard", name, {"soupRef": {"name": "emoji"}, "source": source})


def a_soup(base: Spec, held_out: Spec | None = None, name: str = "emoji") -> Spec:
    evaluation = {"evaluation": {"source": held_out}} if held_out else {}
    return an_object("Soup", name, {"base": base, **evaluation})


def an_object(kind: str, name: str, spec: Spec) -> Spec:
    metadata = {"name": name, "namespace": "studio", "finalizers": ["stockpot.dev/unlearn"]}
    return {
        "apiVersion": "stockpot.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec
    }  # fmt: skip


@pytest.fixture
def limited(installed: Shell) -> Iterator[Shell]:
    """The release with a list of what `studio` may name, in force; without it again afterwards."""
    limit(installed)
    yield installed
    for kind, name in (("shard", "food"), ("soup", "emoji")):
        gone = ("patch", kind, name, "-n", "studio", "--type=merge", "-p")
        installed.run("kubectl", *gone, '{"metadata":{"finalizers":null}}')
        installed.run("kubectl", "delete", kind, name, "-n", "studio", "--ignore-not-found")
    installed(*UPGRADE)
    wait_until(
        lambda: answer(installed, a_shard(s3("elsewhere/"))) == "", "all is allowed", within_s=60
    )


def limit(shell: Shell) -> None:
    shell(*UPGRADE, f"--set-json=allowedSources={json.dumps(ALLOWED)}")
    for probe in (a_shard(s3("elsewhere/"), "probe"), a_soup(s3("elsewhere/"), name="probe")):
        wait_until(
            lambda probe=probe: "is not allowed" in answer(shell, probe),
            "the policy is in force",
            within_s=60,
        )


def answer(shell: Shell, thing: Spec) -> str:
    """Have the API server judge an object without storing it; give what it objects to."""
    command = ("kubectl", "create", "--dry-run=server", "-f", "-")
    ended = shell.run(*command, stdin=json.dumps(thing))
    return ended.stderr if ended.returncode else ""


def test_what_is_on_the_list_is_admitted_and_all_else_refused_by_name(limited: Shell) -> None:
    for admitted in (
        a_shard(s3("studio/data/food/")),
        a_shard(s3("studio/data")),
        a_shard(s3("shared/data/food")),
        a_shard(pvc("emoji")),
        a_soup(s3("bases/emoji/"), s3("studio/held-out/")),
        a_soup(pvc("emoji"), pvc("emoji")),
        a_soup(s3("bases/emoji/")),
    ):
        assert answer(limited, admitted) == "", admitted

    for refused, field, lists in (
        (a_shard(s3("atelier/data/food/")), "source.s3.prefix atelier/data/food/", "data"),
        (a_shard(s3("studio/database/")), "source.s3.prefix studio/database/", "data"),
        (a_shard(s3("bases/emoji/")), "source.s3.prefix bases/emoji/", "data"),
        (a_shard(pvc("theirs")), "source.pvc.claimName theirs", "claims"),
        (a_soup(s3("studio/data/")), "base.s3.prefix studio/data/", "bases"),
        (a_soup(pvc("theirs")), "base.pvc.claimName theirs", "claims"),
        (
            a_soup(s3("bases/emoji/"), s3("atelier/held-out/")),
            "evaluation.source.s3.prefix atelier/held-out/",
            "evaluation",
        ),
        (a_soup(s3("bases/e/"), pvc("theirs")), "evaluation.source.pvc.claimName theirs", "claims"),
    ):
        message = answer(limited, refused)
        assert f"{field} is not allowed in the namespace studio, which may name" in message
        assert f"an admin adds it to allowedSources.studio.{lists} in the chart's values" in message
    message = answer(limited, a_shard(s3("atelier/data/food/")))
    assert "what begins with: studio/data/, shared/data/;" in message


def test_a_soups_evaluation_source_is_judged_when_it_changes(limited: Shell) -> None:
    limited("kubectl", "create", "-f", "-", stdin=json.dumps(a_soup(s3("bases/emoji/"))))

    def change(patch: Spec) -> str:
        arguments = ("patch", "soup", "emoji", "-n", "studio", "--type=merge", "-p")
        ended = limited.run("kubectl", *arguments, json.dumps(patch))
        return ended.stderr if ended.returncode else ""

    def held_out(prefix: str) -> str:
        return change({"spec": {"evaluation": {"source": s3(prefix)}}})

    assert "evaluation.source.s3.prefix a/ is not allowed" in held_out("a/")
    assert held_out("studio/held-out/cats/") == ""
    assert change({"spec": {"evaluation": {"source": None}}}) == ""


def test_what_was_admitted_before_the_list_lives_on_and_is_deleted(limited: Shell) -> None:
    objects = (a_soup(s3("anything/"), s3("anything/")), a_shard(pvc("anything")))
    limited(*UPGRADE)
    for thing in objects:
        wait_until(lambda thing=thing: answer(limited, thing) == "", "all is allowed", within_s=60)
        limited("kubectl", "create", "-f", "-", stdin=json.dumps(thing))
    limit(limited)

    for kind, name in (("shard", "food"), ("soup", "emoji")):
        in_studio = (kind, name, "-n", "studio")
        limited("kubectl", "label", *in_studio, "colour=red")
        status = ("--subresource=status", "--type=merge", "-p", '{"status":{"state":"Ready"}}')
        limited("kubectl", "patch", *in_studio, *status)
        limited("kubectl", "delete", *in_studio, "--wait=false")
        bare = ("--type=merge", "-p", '{"metadata":{"finalizers":null}}')
        limited("kubectl", "patch", *in_studio, *bare)
        wait_until(
            lambda in_studio=in_studio: limited.run("kubectl", "get", *in_studio).returncode != 0,
            "it is gone",
            within_s=30,
        )


def test_policies_need_no_parameters_that_could_be_absent(render: Render) -> None:
    rendered = render("least", allowedSources=json.dumps(ALLOWED))

    policies = rendered.of("ValidatingAdmissionPolicy")
    bindings = rendered.of("ValidatingAdmissionPolicyBinding")
    assert len(policies) == len(bindings) > 2
    assert not any("paramKind" in policy["spec"] for policy in policies)
    assert not any("paramRef" in binding["spec"] for binding in bindings)


def test_without_a_list_no_policy_is_made(render: Render) -> None:
    names = {thing["metadata"]["name"] for thing in render("least").objects}

    assert not {name for name in names if "-of-studio" in name}
