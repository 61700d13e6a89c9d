"""The chart on a real API server: what it takes, what it admits, and what is left afterwards."""

import json
from pathlib import Path

import pytest
import yaml
from devcluster import commands
from devcluster.api import wait_until
from devcluster.controlplane import ControlPlane
from tests.chart.conftest import CHART, VALUES, Render, Shell

from stockpot.cluster.apiserver.credentials import connect
from stockpot.cluster.apiserver.pinned_namespaces import PinnedNamespaces
from stockpot.cluster.chart.uninstall_check import check_uninstall
from stockpot.cluster.chart.upgrade_check import check_upgrade
from stockpot.errors import Refused, Waiting

NAMESPACES = ("studio", "atelier")
SOUP_AND_SHARD = """
apiVersion: stockpot.dev/v1alpha1
kind: Soup
metadata: {name: emoji, namespace: studio, finalizers: [%(finalizers)s]}
spec:
  base: {s3: {prefix: bases/emoji/}}
---
apiVersion: stockpot.dev/v1alpha1
kind: DataShard
metadata: {name: food, namespace: studio, finalizers: [%(finalizers)s]}
spec:
  soupRef: {name: emoji}
  source: {s3: {prefix: data/food/}}
"""


MADE_KEYS = ("stockpot-signing-key", "stockpot-grant-key")
"""The Secrets with keys that the chart makes."""


def soup_and_shard(*finalizers: str) -> str:
    return SOUP_AND_SHARD % {"finalizers": ", ".join(finalizers)}


@pytest.mark.parametrize("values", VALUES)
def test_the_api_server_takes_every_object_as_it_is(
    installed: Shell, render: Render, values: str
) -> None:
    # Kinds of the Prometheus operator are not there; how they look is read elsewhere.
    rendered = render(values, metrics__serviceMonitor__enabled="false")
    # A made key is another with each rendering: see the test of that below.
    objects = [thing for thing in rendered.objects if thing["metadata"]["name"] not in MADE_KEYS]

    answered = installed.run(
        *("kubectl", "apply", "--server-side", "--dry-run=server", "--force-conflicts"),
        *("--validate=strict", "-f", "-"),
        stdin=yaml.safe_dump_all(objects),
    )

    assert answered.returncode == 0, answered.stderr
    assert "Warning" not in answered.stderr
    assert len(answered.stdout.splitlines()) == len(objects)


def test_the_operators_pods_are_admitted_where_only_restricted_ones_are(installed: Shell) -> None:
    def both() -> bool:
        pods = installed.get("pods", "-n", "stockpot-system", "-l", "app.kubernetes.io/component")
        return len(pods["items"]) == 2

    wait_until(both, "the controllers make both pods", within_s=60)
    events = installed("kubectl", "get", "events", "-n", "stockpot-system")
    assert "violates PodSecurity" not in events


@pytest.mark.parametrize(
    ("who", "verb", "what", "where", "may"),
    [
        ("operator", "list", "datashards", "studio", True),
        ("operator", "update", "soups --subresource=status", "studio", True),
        ("operator", "create", "jobs", "stockpot-system", True),
        ("operator", "get", "customresourcedefinitions/soups.stockpot.dev", "", True),
        ("operator", "get", "customresourcedefinitions/others.example.com", "", False),
        ("operator", "get", "secrets", "studio", False),
        ("operator", "get", "secrets", "stockpot-system", False),
        ("operator", "list", "datashards", "atelier", False),
        ("operator", "delete", "datashards", "studio", False),
        ("operator", "create", "pods", "studio", False),
        ("uninstall", "list", "datashards", "studio", True),
        ("uninstall", "get", "namespaces/studio", "", True),
        ("uninstall", "list", "unlearningdebts", "stockpot-system", True),
        ("uninstall", "get", "leases/stockpot-namespaces", "stockpot-system", True),
        ("operator", "create", "unlearningdebts", "stockpot-system", True),
        ("operator", "create", "unlearningdebts", "studio", False),
        ("operator", "delete", "unlearningdebts", "stockpot-system", False),
        ("uninstall", "delete", "datashards", "studio", False),
        ("uninstall", "get", "secrets", "stockpot-system", False),
        ("unlearn", "get", "secrets", "stockpot-system", False),
    ],
)
def test_each_may_do_what_it_does_and_no_more(
    installed: Shell, who: str, verb: str, what: str, where: str, may: bool
) -> None:
    whom = f"--as=system:serviceaccount:stockpot-system:stockpot-{who}"
    place = ["-n", where] if where else []

    answered = installed.run("kubectl", "auth", "can-i", verb, *what.split(), whom, *place)

    assert answered.stdout.strip() == ("yes" if may else "no"), answered.stderr


@pytest.mark.parametrize(
    ("role", "verb", "what", "may"),
    [
        ("edit", "create", "datashards", True),
        ("edit", "delete", "soups", True),
        ("edit", "create", "unlearningreceipts", False),
        ("view", "get", "unlearningreceipts", True),
        ("view", "delete", "datashards", False),
    ],
)
def test_people_reach_our_kinds_through_the_clusters_own_roles(
    installed: Shell, role: str, verb: str, what: str, may: bool
) -> None:
    installed.run(
        *("kubectl", "create", "rolebinding", f"a-{role}", f"--clusterrole={role}"),
        *(f"--user=a-{role}", "-n", "studio"),
    )

    def answer() -> str:
        question = ("auth", "can-i", verb, what, f"--as=a-{role}", "-n", "studio")
        return installed.run("kubectl", *question).stdout.strip()

    # The cluster gathers the roles when it comes to it.
    if may:
        wait_until(lambda: answer() == "yes", f"{role} may {verb} {what}", within_s=30)
    else:
        assert answer() == "no"


def test_only_who_holds_the_verb_may_force_a_shards_object_away(installed: Shell) -> None:
    installed("kubectl", "apply", "-f", "-", stdin=soup_and_shard("stockpot.dev/unlearn"))
    for who, role in (("ann", "edit"), ("bob", "stockpot-force-delete")):
        for name in {"edit", role}:
            arguments = ("rolebinding", f"{who}-{name}", f"--clusterrole={name}", f"--user={who}")
            installed("kubectl", "create", *arguments, "-n", "studio")
    mark = ("annotate", "shard", "food", "-n", "studio", "stockpot.dev/force-delete=true")

    def as_(who: str, *arguments: str) -> str:
        ended = installed.run("kubectl", *arguments, f"--as={who}")
        return ended.stdout if ended.returncode == 0 else ended.stderr

    wait_until(lambda: "annotated" in as_("bob", *mark), "bob may", within_s=30)
    label = as_("ann", "label", "shard", "food", "-n", "studio", "colour=red")
    again = as_("bob", *mark[:-1], "stockpot.dev/force-delete-")
    refused = as_("ann", *mark)
    mark_soup = ("annotate", "soup", "emoji", *mark[3:])
    refused_soup = as_("ann", *mark_soup)
    assert "annotated" in as_("bob", *mark_soup)
    assert "annotated" in as_("bob", *mark_soup[:-1], "stockpot.dev/force-delete-")
    installed("kubectl", "apply", "-f", "-", stdin=soup_and_shard())
    installed("kubectl", "delete", "shard", "food", "-n", "studio")

    assert "labeled" in label, "what is not of the annotation is everybody's who may edit"
    assert "annotated" in again
    assert "takes the verb force-delete on datashards" in refused
    assert "takes the verb force-delete on datashards or soups" in refused_soup


def test_a_key_is_made_once_and_outlives_upgrade_and_uninstall(installed: Shell) -> None:
    installed.make_namespace("elsewhere")
    arguments = ("--set", "crds.install=false", "--set", "workloadNamespaces={atelier}")

    def key() -> tuple[str, str]:
        receipts = installed.get("secret", "stockpot-two-signing-key", "-n", "elsewhere")
        grants = installed.get("secret", "stockpot-two-grant-key", "-n", "elsewhere")
        return receipts["data"]["signing-key.pem"], grants["data"]["grant-key.pem"]

    installed.install("stockpot-two", "elsewhere", *arguments)
    made = key()
    installed(
        "helm",
        "upgrade",
        "stockpot-two",
        str(CHART),
        "-n",
        "elsewhere",
        "--reuse-values",
        "--no-hooks",
    )
    upgraded = key()
    installed("helm", "uninstall", "stockpot-two", "-n", "elsewhere", "--no-hooks")
    left = key()
    installed.install("stockpot-two", "elsewhere", *arguments)

    assert made == upgraded == left == key()


@pytest.mark.parametrize("name", MADE_KEYS)
def test_who_renders_without_asking_cannot_change_a_key(installed: Shell, name: str) -> None:
    namespace = ("-n", "stockpot-system")
    values = f"--values={VALUES['least']}"
    rendered = installed("helm", "template", "stockpot", str(CHART), *namespace, values)

    # The key alone: the other objects stay as Helm made them, for the tests that come after.
    things = (thing for thing in yaml.safe_load_all(rendered) if thing)
    key = [thing for thing in things if thing["metadata"]["name"] == name]
    arguments = yaml.safe_dump_all(key)
    answered = installed.run("kubectl", "apply", "-f", "-", *namespace, stdin=arguments)

    assert answered.returncode != 0
    assert name in answered.stderr
    assert "immutable" in answered.stderr


def test_an_uninstall_is_refused_while_a_shard_needs_its_operator(
    installed: Shell, cluster: ControlPlane, tmp_path: Path
) -> None:
    token = installed("kubectl", "create", "token", "stockpot-uninstall", "-n", "stockpot-system")
    kubeconfig = tmp_path / "uninstall.kubeconfig"
    kubeconfig.write_text(commands.kubeconfig(url=cluster.url, token=token.strip(), ca=cluster.ca))
    client = connect(kubeconfig=kubeconfig)
    installed("kubectl", "apply", "-f", "-", stdin=soup_and_shard("stockpot.dev/unlearn"))

    with pytest.raises(Waiting) as refused:
        check_uninstall(client, ["studio"])
    installed("kubectl", "apply", "-f", "-", stdin=soup_and_shard())
    check_uninstall(client, ["studio"])
    client.close()

    assert "would hang:\n    DataShard studio/food\n    Soup studio/emoji" in refused.value.message
    assert "kubectl delete shard --all, then kubectl delete soup --all" in refused.value.help
    assert "helm uninstall --no-hooks" in refused.value.help


def test_of_many_that_are_in_the_way_ten_are_named(installed: Shell) -> None:
    client = connect(kubeconfig=installed.kubeconfig)
    text = soup_and_shard("stockpot.dev/unlearn").replace("namespace: studio", "namespace: atelier")
    many = [text.replace("name: food", f"name: food-{number:02}") for number in range(11)]
    installed("kubectl", "apply", "-f", "-", stdin="---".join(many))

    with pytest.raises(Waiting) as refused:
        check_uninstall(client, ["studio", "atelier"])
    client.close()

    assert "DataShard atelier/food-09\n    and 2 more" in refused.value.message
    assert "food-10" not in refused.value.message


def test_a_namespace_that_is_gone_is_in_nobodys_way(installed: Shell) -> None:
    client = connect(kubeconfig=installed.kubeconfig)

    check_uninstall(client, ["long-gone"])

    client.close()


DEBT = """
apiVersion: stockpot.dev/v1alpha1
kind: UnlearningDebt
metadata: {name: emoji-1, namespace: stockpot-system, finalizers: [stockpot.dev/unlearn]}
spec:
  soup: {namespace: atelier, name: emoji, uid: "1"}
  store: default
  reason: NamespaceEnded
  deadlineSeconds: 3600
  shards:
    - name: food
      uid: "2"
      unlearning: {requestedAt: "2026-11-22T12:00:00Z", stage: Tombstoned}
"""


def test_an_uninstall_is_refused_while_something_is_owed(installed: Shell) -> None:
    client = connect(kubeconfig=installed.kubeconfig)
    pinned = PinnedNamespaces(client, "stockpot-system")
    installed("kubectl", "apply", "-f", "-", stdin=DEBT)
    pinned.set_pinned("old-studio", is_pinned=True)

    with pytest.raises(Waiting) as refused:
        check_uninstall(client, [], "stockpot-system")
    free = DEBT.replace("finalizers: [stockpot.dev/unlearn]", "finalizers: []")
    installed("kubectl", "apply", "-f", "-", stdin=free)
    pinned.set_pinned("old-studio", is_pinned=False)
    check_uninstall(client, [], "stockpot-system")
    client.close()

    assert "UnlearningDebt stockpot-system/emoji-1" in refused.value.message
    assert "Namespace old-studio" in refused.value.message
    assert "kubectl get debts" in refused.value.help


def test_an_upgrade_that_drops_a_namespace_with_shards_is_refused_by_name(
    installed: Shell,
) -> None:
    client = connect(kubeconfig=installed.kubeconfig)
    installed("kubectl", "apply", "-f", "-", stdin=soup_and_shard("stockpot.dev/unlearn"))

    with pytest.raises(Waiting) as refused:
        check_upgrade(client, ["studio", "atelier"], ["atelier"], creates=False)
    installed("kubectl", "apply", "-f", "-", stdin=soup_and_shard())
    notes = check_upgrade(client, ["studio", "atelier"], ["atelier"], creates=False)
    client.close()

    assert "\n    DataShard studio/food\n    Soup studio/emoji" in refused.value.message
    assert "leave the namespaces in workloadNamespaces" in refused.value.help
    assert notes == []


def test_an_upgrade_into_a_namespace_that_is_gone_or_goes_says_so(installed: Shell) -> None:
    client = connect(kubeconfig=installed.kubeconfig)
    installed.make_namespace("leaving")
    held = soup_and_shard("stockpot.dev/unlearn").replace("studio", "leaving")
    installed("kubectl", "apply", "-f", "-", stdin=held)
    installed("kubectl", "delete", "namespace", "leaving", "--wait=false")

    with pytest.raises(Refused) as gone:
        check_upgrade(client, [], ["long-gone"], creates=False)
    with pytest.raises(Refused) as goes:
        check_upgrade(client, ["leaving"], ["leaving"], creates=True)
    check_upgrade(client, [], ["long-gone"], creates=True)
    notes = check_upgrade(client, ["leaving", "long-gone"], ["studio"], creates=False)
    installed("kubectl", "replace", "-f", "-", stdin=held.replace("[stockpot.dev/unlearn]", "[]"))
    client.close()

    assert "there is no such namespace" in gone.value.message
    assert "kubectl create namespace long-gone" in gone.value.help
    assert "which is being deleted" in goes.value.message
    assert "remove it from workloadNamespaces" in goes.value.help
    assert notes == ["leaving is being deleted: the operator watches it until it is gone"]


def test_namespaces_that_exist_already_are_adopted(installed: Shell) -> None:
    for name in ("third-system", "made-before"):
        installed.make_namespace(name)
    arguments = ("--set", "crds.install=false", "--set", "createNamespaces=true")
    namespaces = ("--set", "workloadNamespaces={made-before,made-now}")

    installed.install("stockpot-three", "third-system", *arguments, *namespaces)
    made = installed.get("namespace", "made-now")
    left = installed.get("namespace", "made-before")
    upgrade = ("helm", "upgrade", "stockpot-three", str(CHART), "-n", "third-system")
    installed(*upgrade, "--reuse-values", "--no-hooks")
    still = installed.get("namespace", "made-now")
    installed("helm", "uninstall", "stockpot-three", "-n", "third-system", "--no-hooks")

    owner = "meta.helm.sh/release-name"
    assert made["metadata"]["annotations"][owner] == "stockpot-three"
    assert owner not in left["metadata"].get("annotations", {})
    assert still["metadata"]["uid"] == made["metadata"]["uid"]


def test_what_helm_says_afterwards_names_what_to_do(installed: Shell) -> None:
    text = installed("helm", "get", "notes", "stockpot", "-n", "stockpot-system")

    for word in (
        "rollout status",
        "store-workload",
        "stores.default: studio use credentials.workload",
        "stores.default.credentials.namespaces, and docs/reference/store-access.md",
        "openssl pkey -pubout",
        "helm uninstall refuses",
    ):
        assert word in text
    status = json.loads(
        installed("helm", "status", "stockpot", "-n", "stockpot-system", "-o", "json")
    )
    assert status["info"]["status"] == "deployed"
