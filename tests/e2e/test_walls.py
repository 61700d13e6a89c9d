"""What a workload pod of one namespace reaches of another, and of its own records: nothing.

Each attempt is made from a pod with what the namespace's own pods get: image, ServiceAccount,
Secret, labels and so NetworkPolicies. The same attempt by whoever may make it succeeds, so that
none is refused because of a slip or a broken network. Slow, so it runs only when asked for
(E2E=long).
"""

import copy
import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from devcluster import build, objects, volumes
from devcluster.node import CODE_CLAIM
from devcluster.places import REPOSITORY
from tests.e2e.studio import CLAIM, NAMESPACE, SYSTEM, VALUES, WHY_NOT, Studio, namespace_is_gone

from stockpot.api.runspec import RevisionRef, StoreRef
from stockpot.api.serving import Grant
from stockpot.cluster.apiserver.objects import Json
from stockpot.cluster.apiserver.resources import DATA_SHARDS, DEPLOYMENTS, PODS, SOUPS
from stockpot.store.keys import Keys
from stockpot.store.open import open_store

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(os.environ.get("E2E") != "long", reason="not run: `make e2e` runs it"),
    pytest.mark.skipif(bool(WHY_NOT), reason=f"not run: {WHY_NOT}"),
    pytest.mark.timeout(1200),
]

INTRUDER = Path(__file__).with_name("intruder.py")
OTHER = objects.PROOF
"""The namespace that the intruder is in; the one that it tries to reach is `studio`."""
VICTIM = "walls"
"""The soup of each namespace."""
OURS, THEIRS = Keys(OTHER), Keys(NAMESPACE)
SCRATCH = "scratch"
"""In place of a UID in the keys of objects that are there to be attacked."""
API = "https://kubernetes.default.svc"
LEAST = 25
MESSAGE_WITHIN_S = 60
UNREACHABLE = "unreachable EHOSTUNREACH"
"""Administratively prohibited, which the kernel calls no route to the host."""


@dataclass(frozen=True)
class Attempt:
    """One attempt of the intruder."""

    kind: str
    what: dict[str, str]
    refusal: str
    """The answer that it must get."""
    permitted: str = ""
    """Whose same attempt succeeds: workload, unlearn or operator. Empty: nobody's."""
    success: str = "ok"
    """How the answer to that begins."""

    @property
    def name(self) -> str:
        return " ".join((self.kind, *(text for what, text in self.what.items() if what != "body")))


def s3(kind: str, operation: str, key: str, permitted: str = "", source: str = "") -> Attempt:
    what = {"operation": operation, "key": key} | ({"source": source} if source else {})
    return Attempt(kind, what, "refused AccessDenied", permitted)


def http(kind: str, method: str, url: str, permitted: str, success: str = "ok") -> Attempt:
    return Attempt(kind, {"method": method, "url": url}, UNREACHABLE, permitted, success)


def kubernetes(method: str, path: str, permitted: str = "") -> Attempt:
    what = {"method": method, "url": API + path}
    # Without a token it is a request of nobody's.
    return Attempt("kubernetes", what, "refused 403", permitted)


def on_another(address: str, weights: str) -> list[Attempt]:
    """List the attempts on the other namespace: its store, its servers, its objects."""
    planted = THEIRS.shard(SCRATCH) + "key/weights"
    folder = weights.rpartition("/")[0]
    kinds = "/apis/stockpot.dev/v1alpha1/namespaces"
    return [
        s3("list", "list", "", "unlearn"),
        s3("list", "list", f"{NAMESPACE}/", "workload"),
        s3("list", "list", THEIRS.shard(SCRATCH), "workload"),
        s3("list", "list-versions", f"{NAMESPACE}/", "unlearn"),
        s3("read", "get", weights, "workload"),
        s3("read", "stat", weights, "workload"),
        s3("read", "get", f"{folder}/manifest.json", "workload"),
        s3("read", "get", f"{folder}/records.jsonl", "workload"),
        s3("read", "get", THEIRS.mark, "workload"),
        s3("read", "get", THEIRS.tombstone(SCRATCH), "workload"),
        s3("read", "get", THEIRS.receipt(SCRATCH, 1), "workload"),
        s3("read", "get", unlearned(THEIRS), "unlearn"),
        s3("read", "copy", OURS.soup(SCRATCH) + "stolen", source=planted),
        s3("write", "put", planted, "workload"),
        s3("write", "upload", planted, "workload"),
        s3("write", "put", THEIRS.mark),
        s3("plant", "put", THEIRS.shard(SCRATCH) + "planted", "workload"),
        s3("plant", "put", THEIRS.soup(SCRATCH) + "planted", "workload"),
        s3("plant", "put", f"{NAMESPACE}/planted"),
        s3("delete", "delete", planted, "unlearn"),
        s3("delete", "delete-several", THEIRS.soup(SCRATCH) + "planted", "unlearn"),
        s3("delete", "delete", THEIRS.shard(SCRATCH) + "runs/request/checkpoint", "workload"),
        *records(THEIRS),
        http("grant", "GET", f"http://{address}:8081/state", "operator"),
        *(
            Attempt(
                "grant",
                {"method": "POST", "url": f"http://{address}:8081/weights:{verb}", "body": grant()},
                UNREACHABLE,
                # Whom the network lets through still has no key: the operator's own are signed.
                "operator",
                "refused 403",
            )
            for verb in ("prepare", "commit")
        ),
        http("metrics", "GET", f"http://{address}:8083/metrics", "operator"),
        http("metrics", "GET", f"http://{address}:8082/metrics", "operator"),
        kubernetes("GET", f"{kinds}/{NAMESPACE}/datashards", "operator"),
        kubernetes("DELETE", f"{kinds}/{NAMESPACE}/soups/{VICTIM}"),
        kubernetes("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets"),
    ]


def records(keys: Keys) -> list[Attempt]:
    """List the attempts on what only purge and sign write, in either namespace."""
    return [
        s3("tombstone", "put", keys.tombstone("planted"), "unlearn"),
        s3("tombstone", "put", keys.tombstone(SCRATCH), "unlearn"),
        s3("tombstone", "delete", keys.tombstone(SCRATCH), "unlearn"),
        s3("tombstone", "put", keys.inventory("planted"), "unlearn"),
        s3("receipt", "put", keys.receipt(SCRATCH, 2), "unlearn"),
        s3("receipt", "put", keys.receipt(SCRATCH, 1), "unlearn"),
        s3("receipt", "upload", keys.receipt(SCRATCH, 3), "unlearn"),
        s3("receipt", "delete", keys.receipt(SCRATCH, 1), "unlearn"),
        s3("unlearned", "put", keys.unlearned_key(SCRATCH), "unlearn"),
        s3("unlearned", "delete", unlearned(keys), "unlearn"),
    ]


def on_its_own() -> list[Attempt]:
    """List the attempts on the intruder's own namespace."""
    return [
        *records(OURS),
        s3("unlearned", "copy", OURS.soup(SCRATCH) + "copied", source=unlearned(OURS)),
        s3("mark", "delete", OURS.mark),
        s3("list", "list-versions", f"{OTHER}/", "unlearn"),
    ]


def unlearned(keys: Keys) -> str:
    return keys.unlearned_list(SCRATCH, "shard")


def grant() -> str:
    digest = "sha256:" + "a" * 64
    revision = RevisionRef(recipe_digest=digest, weights_digest=digest, lineage=())
    late = Grant(instance_id="0123", epoch=10**9, number=1, revision=revision)
    return late.model_dump_json(by_alias=True)


@pytest.fixture(scope="module")
def walls(studio: Studio) -> Studio:
    """Two namespaces of one release, each with a soup that is served, and what may be attacked."""
    studio.kubectl("create", "namespace", OTHER)
    level = "pod-security.kubernetes.io/enforce=restricted"
    studio.kubectl("label", "namespace", OTHER, level)
    volumes.claim(studio.places, OTHER, CODE_CLAIM, studio.places.code)
    volumes.claim(studio.places, OTHER, CLAIM, studio.folder)
    studio.helm(*upgrade(NAMESPACE, OTHER))
    for namespace in (NAMESPACE, OTHER):
        studio.apply(VICTIM, "one", steps=2, namespace=namespace)
    for namespace in (NAMESPACE, OTHER):
        await_ready(studio, namespace)
    return studio


def upgrade(*namespaces: str) -> tuple[str, ...]:
    release = ("upgrade", "stockpot", "charts/stockpot", "-n", SYSTEM, "-f", str(VALUES))
    listed = f"--set=workloadNamespaces={{{','.join(namespaces)}}}"
    if OTHER not in namespaces:
        return (*release, listed)
    access, secret = objects.WORKLOADS[OTHER]
    path = f"stores.default.credentials.namespaces.{OTHER}"
    return (
        *release,
        listed,
        f"--set={path}.accessKey={access}",
        f"--set={path}.secretKey={secret}",
    )


def await_ready(studio: Studio, namespace: str) -> None:
    for what in (("soup", VICTIM), ("shard", "--all")):
        ready = ("wait", *what, "-n", namespace, "--for=condition=Ready", "--timeout=600s")
        studio.kubectl(*ready)


def run(studio: Studio, who: str, attempts: Sequence[Attempt]) -> dict[str, str]:
    """Make attempts from a pod, and give the answer to each."""
    namespace = {"workload": NAMESPACE, "intruder": OTHER}.get(who, SYSTEM)
    name = f"{who}-{int(time.time() * 1000)}"
    attempts_json = json.dumps([{**attempt.what, "name": attempt.name} for attempt in attempts])
    studio.kubectl("apply", "-f", "-", manifest=a_pod(studio, who, namespace, name, attempts_json))
    ended = "--for=jsonpath={.status.phase}=Succeeded"
    studio.kubectl("wait", f"pod/{name}", "-n", namespace, ended, "--timeout=180s")
    answers: dict[str, str] = json.loads(studio.kubectl("logs", name, "-n", namespace))
    studio.kubectl("delete", "pod", name, "-n", namespace, "--wait=false")
    return answers


def a_pod(studio: Studio, who: str, namespace: str, name: str, attempts_json: str) -> Json:
    """Give a pod as the namespace's own, with another program."""
    own = namespace if namespace != SYSTEM else NAMESPACE
    selector = f"stockpot.dev/soup={VICTIM}"
    [deployment] = studio.client.list(DEPLOYMENTS, own, label_selector=selector).items
    template = copy.deepcopy(deployment["spec"]["template"])
    spec, labels = template["spec"], {"app.kubernetes.io/name": "stockpot"}
    [container] = spec["containers"]
    for field in ("args", "ports", "readinessProbe", "livenessProbe", "startupProbe", "lifecycle"):
        container.pop(field, None)
    container["command"] = ["python", "-c", INTRUDER.read_text(), attempts_json]
    spec["restartPolicy"] = "Never"
    # What NetworkPolicies match; no Service, and no controller, takes it for one of its own.
    labels["app.kubernetes.io/component"] = {"operator": "operator", "unlearn": "purge"}.get(
        who, "train"
    )
    if who == "unlearn":
        spec["serviceAccountName"] = "stockpot-unlearn"
        container["envFrom"] = [{"secretRef": {"name": "stockpot-store-default-unlearn"}}]
    if who == "operator":
        labels["app.kubernetes.io/instance"] = "stockpot"
        spec |= {"serviceAccountName": "stockpot-operator", "automountServiceAccountToken": True}
        container.pop("envFrom", None)
    # A claim for the soup's base is in the workload namespaces alone.
    if namespace == SYSTEM:
        claims = {volume["name"] for volume in spec["volumes"] if claims_data(volume)}
        spec["volumes"] = [v for v in spec["volumes"] if v["name"] not in claims]
        mounts = container["volumeMounts"]
        container["volumeMounts"] = [mount for mount in mounts if mount["name"] not in claims]
    metadata = {
        "name": name,
        "namespace": namespace,
        "labels": labels,
        "annotations": template["metadata"]["annotations"],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def claims_data(volume: Json) -> bool:
    return volume.get("persistentVolumeClaim", {}).get("claimName") == CLAIM


@pytest.fixture
def attacked(walls: Studio) -> Iterator[Studio]:
    """Write what is attacked: as a workload what workloads write, the rest as purge and sign do."""
    written = (
        s3("", "put", THEIRS.shard(SCRATCH) + "key/weights"),
        s3("", "put", THEIRS.soup(SCRATCH) + "planted"),
        s3("", "put", THEIRS.shard(SCRATCH) + "runs/request/checkpoint"),
    )
    recorded = [
        s3("", "put", key)
        for keys in (OURS, THEIRS)
        for key in (keys.tombstone(SCRATCH), keys.receipt(SCRATCH, 1), unlearned(keys))
    ]
    answers = run(walls, "workload", written) | run(walls, "unlearn", recorded)
    assert set(answers.values()) == {"ok"}
    yield walls
    clean_up(walls)


def clean_up(studio: Studio) -> None:
    """Remove what is of no manifest: it would make receipts Incomplete."""
    with studio.store() as endpoint:
        store = open_store(StoreRef(url="s3://stockpot", endpoint=endpoint))
        for namespace in (NAMESPACE, OTHER):
            for info in list(store.list_versions(f"{namespace}/")):
                if {SCRATCH, "planted", "planted.json"} & set(info.key.split("/")):
                    store.purge(info)


def server_address(studio: Studio) -> str:
    selector = f"app.kubernetes.io/component=serve,stockpot.dev/soup={VICTIM}"
    pod = studio.client.list(PODS, NAMESPACE, label_selector=selector).items[0]
    address: str = pod["status"]["podIP"]
    return address


def weights_of(studio: Studio) -> str:
    shard = studio.client.get(DATA_SHARDS, NAMESPACE, f"{VICTIM}-one")
    with studio.store() as endpoint:
        store = open_store(StoreRef(url="s3://stockpot", endpoint=endpoint))
        keys = [info.key for info in store.list(THEIRS.shard(shard["metadata"]["uid"]))]
    return next(key for key in keys if key.endswith(".safetensors") and "/runs/" not in key)


def test_a_workload_reaches_nothing_of_another_namespace_nor_its_own_records(
    attacked: Studio,
) -> None:
    address, weights = server_address(attacked), weights_of(attacked)
    on_them, on_us = on_another(address, weights), on_its_own()
    attempts = [*on_them, *on_us]
    pictures = Attempt("", {"method": "GET", "url": f"http://{address}:8080/v1/models"}, "")
    before = {key: content(attacked, key) for key in (THEIRS.mark, weights, OURS.mark)}

    answers = run(attacked, "intruder", [*attempts, pictures])
    permitted = {
        name: answer
        for who in ("workload", "operator", "unlearn")
        for name, answer in run(attacked, who, [a for a in attempts if a.permitted == who]).items()
    }

    assert len({attempt.name for attempt in on_them}) == len(on_them) >= LEAST
    expected = {attempt.name: attempt.refusal for attempt in attempts}
    assert {name: answers[name] for name in expected} == expected
    assert answers[pictures.name] == "ok 200", "the server itself is reached, where all may ask"
    failed = {
        attempt.name: permitted[attempt.name]
        for attempt in attempts
        if attempt.permitted and not permitted[attempt.name].startswith(attempt.success)
    }
    assert not failed
    kinds = {attempt.kind for attempt in on_them}
    assert {attempt.kind for attempt in attempts if attempt.permitted} >= kinds
    assert {key: content(attacked, key) for key in before} == before


def content(studio: Studio, key: str) -> bytes | None:
    with studio.store() as endpoint:
        store = open_store(StoreRef(url="s3://stockpot", endpoint=endpoint))
        return store.get(key)


def test_the_hook_refuses_to_drop_a_namespace_with_shards_and_lets_an_empty_one_go(
    walls: Studio,
) -> None:
    began_s = time.monotonic()
    refused = helm(walls, *upgrade(NAMESPACE))
    refused_after_s = time.monotonic() - began_s
    listed_after_refusal = listed(walls)
    for kind in ("shard", "soup"):
        walls.kubectl("delete", kind, "--all", "-n", OTHER, "--timeout=240s")
    walls.helm(*upgrade(NAMESPACE))

    assert refused.returncode != 0
    assert f"DataShard {OTHER}/{VICTIM}-one" in refused.stdout + refused.stderr
    assert f"Soup {OTHER}/{VICTIM}" in refused.stdout + refused.stderr
    assert "leave the namespaces in workloadNamespaces" in refused.stdout + refused.stderr
    assert refused_after_s < MESSAGE_WITHIN_S
    assert f"- {OTHER}" in listed_after_refusal
    assert f"- {OTHER}" not in listed(walls)
    rollout = ("rollout", "status", "deployment/stockpot-operator", "--timeout=120s")
    walls.kubectl("-n", SYSTEM, *rollout)
    walls.kubectl("delete", "namespace", OTHER, "--wait=false")
    walls.until(lambda: namespace_is_gone(walls.client, OTHER), "the dropped namespace goes")
    assert walls.client.find(SOUPS, NAMESPACE, VICTIM)


def helm(studio: Studio, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(build.built(build.control_plane()) / "helm"), *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        env={**os.environ, "KUBECONFIG": str(studio.places.kubeconfig)},
    )


def listed(studio: Studio) -> str:
    settings = ("get", "configmap", "stockpot-settings", "-o", "jsonpath={.data.settings\\.yaml}")
    return studio.kubectl("-n", SYSTEM, *settings)
