"""What the chart renders: each object, for the least and for the most that can be asked of it.

Invariant 12.
"""

import base64
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from tests.chart.conftest import CHART, VALUES, Object, Render, Rendered

from stockpot.authentication.key_file import PREVIOUS
from stockpot.cluster.apiserver.settings import OperatorSettings
from stockpot.cluster.chart.values import Values

BLOCKS = re.findall(r"```yaml\n(.*?)```", (CHART / "README.md").read_text(), re.DOTALL)
HOOK_KINDS = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Job")
ROLE = "eks.amazonaws.com/role-arn"
EVERY = pytest.mark.parametrize("values", VALUES)


def pod_specs(rendered: Rendered) -> Iterator[tuple[str, Object]]:
    for kind in ("Deployment", "Job"):
        for thing in rendered.of(kind):
            yield thing["metadata"]["name"], thing["spec"]["template"]["spec"]


def settings_of(rendered: Rendered) -> OperatorSettings:
    text = rendered.named("ConfigMap", "stockpot-settings")["data"]["settings.yaml"]
    return OperatorSettings.model_validate(yaml.safe_load(text))


def entries(secret: Object) -> dict[str, str]:
    return {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}


@pytest.mark.parametrize("values", [[], *([f"--values={path}"] for path in VALUES.values())])
def test_helm_finds_nothing_to_say(programs: Path, values: list[str]) -> None:
    command = [programs / "helm", "lint", "--strict", CHART, *values]

    linted = subprocess.run(command, capture_output=True, text=True, check=False)

    assert linted.returncode == 0, linted.stdout + linted.stderr
    assert "[WARNING]" not in linted.stdout


@EVERY
def test_every_pod_is_restricted(render: Render, values: str) -> None:
    pods = dict(pod_specs(render(values)))

    assert set(pods) == {"stockpot-operator", "stockpot-uninstall", "stockpot-upgrade"}
    for pod in pods.values():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 65532
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["requests"]
            assert container["resources"]["limits"]["memory"]


@EVERY
def test_nobody_may_do_everything_and_nobody_may_read_secrets(render: Render, values: str) -> None:
    rendered = render(values)

    rules = [
        rule
        for kind in ("Role", "ClusterRole")
        for thing in rendered.of(kind)
        for rule in thing["rules"]
    ]
    assert rules
    for rule in rules:
        assert "*" not in rule["apiGroups"] + rule["resources"] + rule["verbs"], rule
        assert not {"secrets", "configmaps", "pods/exec"} & set(rule["resources"]), rule


def test_rights_are_held_in_the_namespaces_that_were_named_alone(render: Render) -> None:
    rendered = render("most")

    bound = {
        (binding["metadata"]["namespace"], subject["name"])
        for binding in rendered.of("RoleBinding")
        for subject in binding["subjects"]
    }
    everywhere = {
        (binding["roleRef"]["name"], subject["name"])
        for binding in rendered.of("ClusterRoleBinding")
        for subject in binding["subjects"]
    }
    assert bound == {
        ("studio", "stockpot-operator"),
        ("atelier", "stockpot-operator"),
        ("stockpot-system", "stockpot-operator"),
        ("studio", "stockpot-uninstall"),
        ("atelier", "stockpot-uninstall"),
        ("stockpot-system", "stockpot-uninstall"),
    }
    assert everywhere == {
        ("stockpot-operator", "stockpot-operator"),
        ("stockpot-uninstall", "stockpot-uninstall"),
        ("stockpot-upgrade", "stockpot-upgrade"),
    }


def test_what_is_held_everywhere_is_only_looking(render: Render) -> None:
    rendered = render("most")

    for role in ("stockpot-operator", "stockpot-uninstall"):
        for rule in rendered.named("ClusterRole", role)["rules"]:
            assert rule["verbs"] == ["get"]
            # Their names cannot be known before; all else is one object each.
            assert rule["resources"] in (["nodes"], ["namespaces"]) or rule["resourceNames"]


def test_who_looks_into_dropped_namespaces_exists_during_the_check_alone(render: Render) -> None:
    rendered = render("most")

    things = [rendered.named(kind, "stockpot-upgrade") for kind in HOOK_KINDS]
    hooks = [thing["metadata"]["annotations"] for thing in things]
    rules = rendered.named("ClusterRole", "stockpot-upgrade")["rules"]
    assert {hook["helm.sh/hook"] for hook in hooks} == {"pre-upgrade"}
    assert all("hook-succeeded" in hook["helm.sh/hook-delete-policy"] for hook in hooks)
    assert {verb for rule in rules for verb in rule["verbs"]} == {"get", "list"}


def test_what_a_dropped_namespace_needs_stays_in_it(render: Render) -> None:
    rendered = render("most")

    needed = [
        *(("RoleBinding", thing) for thing in rendered.of("RoleBinding")),
        *(("ServiceAccount", thing) for thing in rendered.of("ServiceAccount")),
        *(("NetworkPolicy", thing) for thing in rendered.of("NetworkPolicy")),
        *(("Secret", thing) for thing in rendered.of("Secret")),
    ]
    kept = {
        (kind, thing["metadata"]["name"])
        for kind, thing in needed
        if thing["metadata"]["namespace"] == "studio"
        and thing["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
    }
    assert {("RoleBinding", "stockpot-operator"), ("ServiceAccount", "stockpot-workload")} <= kept
    assert {("NetworkPolicy", "stockpot-runs"), ("NetworkPolicy", "stockpot-servers")} <= kept
    assert "Secret" in {kind for kind, _ in kept}


def test_the_check_before_an_upgrade_compares_with_the_settings_of_before(render: Render) -> None:
    pod = dict(pod_specs(render("most")))["stockpot-upgrade"]

    [settings] = [volume for volume in pod["volumes"] if volume["name"] == "settings"]
    assert pod["containers"][0]["args"] == ["--creates", "studio", "atelier"]
    assert settings["configMap"] == {"name": "stockpot-settings", "optional": True}


def test_a_token_goes_to_nobody_but_the_operator_and_the_check(render: Render) -> None:
    rendered = render("most")

    accounts = {
        (thing["metadata"]["namespace"], thing["metadata"]["name"]): thing[
            "automountServiceAccountToken"
        ]
        for thing in rendered.of("ServiceAccount")
    }
    mounted = {
        pod["serviceAccountName"]
        for _, pod in pod_specs(rendered)
        if pod["automountServiceAccountToken"]
    }
    assert not any(accounts.values())
    assert ("studio", "stockpot-workload") in accounts
    assert ("atelier", "stockpot-workload") in accounts
    assert ("stockpot-system", "stockpot-unlearn") in accounts
    assert mounted == {"stockpot-operator", "stockpot-uninstall", "stockpot-upgrade"}


def test_the_operator_reads_what_the_admin_declared(render: Render) -> None:
    settings = settings_of(render("most"))

    assert settings.release.namespace == "stockpot-system"
    assert settings.workload_namespaces == ("studio", "atelier")
    assert settings.images.workload == "registry.example.com/team/trainer:1.0.0"
    assert settings.images.unlearn == (
        "registry.example.com/team/stockpot:1.0.0@sha256:" + "a" * 64
    )
    assert settings.images.pull_secrets == ("registry",)
    assert settings.stores["default"].url == "s3://stockpot/production"
    assert settings.stores["default"].credentials.workload == "stockpot-store-default-workload"
    assert settings.stores["archive"].credentials.unlearn == "archive-unlearn"
    assert settings.service_accounts.workload == "stockpot-workload"
    assert settings.signing_key.secret == "stockpot-signing-key"
    assert settings.pods.runtime_class_name == "nvidia"
    assert settings.pods.resources["train"]["limits"] == {"nvidia.com/gpu": 1, "memory": "32Gi"}
    assert settings.pods.env == ({"name": "NCCL_DEBUG", "value": "WARN"},)


def test_what_is_not_said_is_the_charts_own_version(render: Render) -> None:
    settings = settings_of(render("least"))

    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    assert settings.images.unlearn == f"stockpot:{version}"
    assert settings.images.workload == f"stockpot-trainer:{version}"


def test_the_right_to_delete_lies_beside_the_operator_alone(render: Render) -> None:
    rendered = render("most")

    lies = {
        (thing["metadata"]["namespace"], thing["metadata"]["name"]): entries(thing)
        for thing in rendered.of("Secret")
        if "store" in thing["metadata"]["name"]
    }
    workload = {"AWS_ACCESS_KEY_ID": "workload", "AWS_SECRET_ACCESS_KEY": "not-a-secret-1"}
    unlearn = {"AWS_ACCESS_KEY_ID": "unlearn", "AWS_SECRET_ACCESS_KEY": "not-a-secret-2"}
    studio = {"AWS_ACCESS_KEY_ID": "studio", "AWS_SECRET_ACCESS_KEY": "not-a-secret-3"}
    assert lies == {
        ("studio", "stockpot-store-apart-workload"): studio,
        ("studio", "stockpot-store-default-workload"): workload,
        ("atelier", "stockpot-store-default-workload"): workload,
        ("stockpot-system", "stockpot-store-default-unlearn"): unlearn,
    }


def test_a_namespace_has_its_own_identity_where_the_values_name_one(render: Render) -> None:
    credentials = {
        name: store.credentials for name, store in settings_of(render("most")).stores.items()
    }

    assert credentials["apart"].namespaces == {
        "studio": "stockpot-store-apart-workload",
        "atelier": "apart-atelier",
    }
    assert credentials["default"].namespaces == {}


def test_a_namespace_without_an_identity_uses_the_shared_one(render: Render) -> None:
    rendered = render(
        "least",
        workloadNamespaces='["studio","annex"]',
        stores__default__credentials__namespaces='{"annex":{"existingSecret":"store-annex"}}',
    )

    credentials = settings_of(rendered).stores["default"].credentials
    assert credentials.workload == "store-workload"
    assert credentials.namespaces == {"annex": "store-annex"}


def test_a_cloud_identity_needs_no_secret(render: Render) -> None:
    def account(role: str) -> str:
        return json.dumps({"annotations": {ROLE: role}})

    rendered = render(
        workloadNamespaces='["studio"]',
        stores='{"default":{"url":"s3://bucket","endpoint":"https://s3.example.com"}}',
        serviceAccounts__namespaces__studio=account("arn:studio"),
        serviceAccounts__unlearn=account("arn:unlearn"),
    )

    credentials = settings_of(rendered).stores["default"].credentials
    roles = {
        account["metadata"]["name"]: account["metadata"].get("annotations", {}).get(ROLE)
        for account in rendered.of("ServiceAccount")
    }
    assert (credentials.workload, credentials.unlearn, credentials.namespaces) == ("", "", {})
    assert {name: role for name, role in roles.items() if role} == {
        "stockpot-unlearn": "arn:unlearn",
        "stockpot-workload": "arn:studio",
    }


def test_no_secret_is_in_a_configmap_or_in_a_pod(render: Render) -> None:
    rendered = render("most")

    others = [thing for thing in rendered.objects if thing["kind"] != "Secret"]
    text = yaml.safe_dump_all(others)
    for secret in ("not-a-secret-1", "not-a-secret-2", "not-a-secret-3", "PRIVATE KEY"):
        assert secret not in text
        assert base64.b64encode(secret.encode()).decode() not in text


def test_a_key_to_sign_with_is_made_that_the_signer_can_read(render: Render) -> None:
    secret = render("least").named("Secret", "stockpot-signing-key")

    key = load_pem_private_key(entries(secret)["signing-key.pem"].encode(), password=None)
    assert isinstance(key, Ed25519PrivateKey)
    assert secret["immutable"] is True
    assert secret["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert secret["metadata"]["namespace"] == "stockpot-system"


def test_a_key_that_is_there_is_used(render: Render) -> None:
    rendered = render("least", signingKey__existingSecret='"ours"')

    assert [secret["metadata"]["name"] for secret in rendered.of("Secret")] == [
        "stockpot-grant-key"
    ]
    assert settings_of(rendered).signing_key.secret == "ours"


@EVERY
def test_what_people_made_outlives_an_uninstall(render: Render, values: str) -> None:
    rendered = render(values)

    kept = {
        (thing["kind"], thing["metadata"]["name"])
        for thing in rendered.objects
        if thing["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
    }
    assert {name for kind, name in kept if kind == "CustomResourceDefinition"} == {
        "datashards.stockpot.dev",
        "soups.stockpot.dev",
        "souprevisions.stockpot.dev",
        "unlearningdebts.stockpot.dev",
        "unlearningreceipts.stockpot.dev",
    }
    namespaces = {("Namespace", "studio"), ("Namespace", "atelier")}
    assert kept & namespaces == (namespaces if values == "most" else set())


def test_namespaces_that_are_made_admit_restricted_pods_alone(render: Render) -> None:
    for thing in render("most").of("Namespace"):
        assert thing["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_crds_can_be_left_to_somebody_else(render: Render) -> None:
    assert render("least", crds__install="false").of("CustomResourceDefinition") == []


def test_changed_settings_are_a_changed_pod(render: Render) -> None:
    def annotations(**sets: str) -> dict[str, str]:
        operator = render("least", **sets).named("Deployment", "stockpot-operator")
        result = operator["spec"]["template"]["metadata"]["annotations"]
        assert isinstance(result, dict)
        return result

    assert annotations() == annotations()
    assert annotations() != annotations(workloadNamespaces='["studio","atelier"]')


def test_the_operator_and_the_check_run_as_the_admin_says(render: Render) -> None:
    pods = dict(pod_specs(render("most")))

    operator = pods["stockpot-operator"]["containers"][0]
    assert operator["command"] == ["python3", "-m", "stockpot.controller"]
    for pod in pods.values():
        (container,) = pod["containers"]
        env = {
            thing["name"]: thing.get("value", thing.get("valueFrom")) for thing in container["env"]
        }
        assert env["PYTHONPATH"] == "/opt/stockpot/src:/opt/stockpot/site"
        assert env["POD_NAMESPACE"] == {"fieldRef": {"fieldPath": "metadata.namespace"}}
        assert {"name": "code", "mountPath": "/opt/stockpot", "readOnly": True} in container[
            "volumeMounts"
        ]
        assert pod["nodeSelector"] == {"kubernetes.io/os": "linux"}
        assert pod["imagePullSecrets"] == [{"name": "registry"}]
    uninstall = pods["stockpot-uninstall"]["containers"][0]
    assert uninstall["args"] == ["--release-namespace=stockpot-system", "studio", "atelier"]


@EVERY
def test_the_operator_alone_mounts_the_key_that_signs_grants_and_no_other(
    render: Render, values: str
) -> None:
    rendered = render(values)
    settings = settings_of(rendered)
    mounted = {
        name: [
            (source["secret"]["name"], item["key"])
            for volume in pod["volumes"]
            for source in volume.get("projected", {}).get("sources", ())
            for item in source["secret"]["items"]
        ]
        for name, pod in pod_specs(rendered)
    }
    (container,) = dict(pod_specs(rendered))["stockpot-operator"]["containers"]
    paths = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}

    assert mounted["stockpot-uninstall"] == []
    secrets = {secret for secret, _ in mounted["stockpot-operator"]}
    assert len(secrets) == 1
    assert settings.signing_key.secret not in secrets
    folder, _, entry = settings.grant_key.rpartition("/")
    assert paths["grant-key"] == folder
    assert [key for _, key in mounted["stockpot-operator"]] == [entry, PREVIOUS]


def test_a_key_of_its_own_signs_grants_unless_there_is_one(render: Render) -> None:
    made = render("least").named("Secret", "stockpot-grant-key")
    key = load_pem_private_key(entries(made)["grant-key.pem"].encode(), password=None)
    receipts = entries(render("least").named("Secret", "stockpot-signing-key"))

    assert isinstance(key, Ed25519PrivateKey)
    assert made["immutable"] is True
    assert made["metadata"]["namespace"] == "stockpot-system"
    assert made["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert entries(made)["grant-key.pem"] not in receipts.values()
    rendered = render("least", grantKey__existingSecret='"ours"', grantKey__key='"grants.pem"')
    names = [secret["metadata"]["name"] for secret in rendered.of("Secret")]
    assert "stockpot-grant-key" not in names
    assert settings_of(rendered).grant_key.endswith("/grants.pem")


def test_an_upgrade_that_reuses_older_values_makes_the_key_that_signs_grants(
    render: Render,
) -> None:
    rendered = render("least", grantKey="null")

    assert rendered.code == 0, rendered.stderr
    assert rendered.named("Secret", "stockpot-grant-key")["data"].keys() == {"grant-key.pem"}
    assert settings_of(rendered).grant_key == "/etc/stockpot-grants/grant-key.pem"


@EVERY
def test_every_object_says_whose_it_is(render: Render, values: str) -> None:
    for thing in render(values).objects:
        assert thing["metadata"]["labels"]["app.kubernetes.io/name"] == "stockpot", thing["kind"]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split(":")[0])
def test_what_the_readme_shows_renders(programs: Path, tmp_path: Path, block: str) -> None:
    shown = tmp_path / "values.yaml"
    shown.write_text(block)
    values = (f"--values={VALUES['least']}", f"--values={shown}")

    ended = subprocess.run(
        [programs / "helm", "template", "stockpot", CHART, "-n", "stockpot-system", *values],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr


def test_the_values_file_says_what_the_model_says() -> None:
    text = yaml.safe_load((CHART / "values.yaml").read_text())

    assert Values.model_validate(text) == Values()
