"""Whatever the cluster does not give is said where a person looks, with what to do about it.

One operator and one soup for all of them, applied at once: none may hold up another.
"""

from collections.abc import Iterator

import pytest
from tests.controlplane.admin import ACCOUNTS, BINDINGS, CLUSTER_ROLES, QUOTAS, Admin, Mirror
from tests.controlplane.kubelet import Order
from tests.controlplane.testbed import TestCluster, rules_of

from stockpot.cluster.apiserver.objects import Json, labels_on, name_of
from stockpot.cluster.apiserver.resources import DATA_SHARDS, JOBS, SOUPS, Resource
from stockpot.cluster.chart.permissions import IN_WORKLOAD_NAMESPACE

CLAIMS = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
FULL, BARE, CLOSED = "full", "bare", "closed"
PATIENCE_S = 60.0
"""All of them begin at once."""


def waits(reason: str, message: str, event: str = "", verb: str = "train") -> Json:
    return {"verb": verb, "waiting": reason, "message": message, "event": event}


def fails(code: int, problem: str = "", **more: object) -> Json:
    return {"verb": "train", "exit_code": code, "problem": problem, **more}


CANNOT_BEGIN = {
    "no-image": (
        waits(
            "ImagePullBackOff",
            'Failed to pull image "example.org/trainer:1": manifest unknown',
            "Failed",
        ),
        "ImageUnavailable",
        ("example.org/trainer:1 cannot be pulled", "no such image", "build and push it"),
    ),
    "no-secret": (
        waits("CreateContainerConfigError", 'secret "store-workload" not found'),
        "SecretNotFound",
        ("the Secret store-workload does not exist", "kubectl create secret generic"),
    ),
    "no-key": (
        waits(
            "CreateContainerConfigError",
            "couldn't find key AWS_ACCESS_KEY_ID in Secret studio/store-workload",
        ),
        "SecretNotFound",
        ("the Secret store-workload has no key AWS_ACCESS_KEY_ID",),
    ),
    "no-mount": (
        waits(
            "ContainerCreating",
            'MountVolume.SetUp failed for volume "claim-0": mount failed: exit status 32',
            "FailedMount",
        ),
        "ClaimUnbound",
        ("cannot be mounted", "kubectl describe pod"),
    ),
}
FAIL_FOR_GOOD = {
    "bad-data": (
        fails(42, "record 3 has no caption"),
        "BadData",
        "record 3 has no caption; help: mend it",
    ),
    "other-data": (fails(43, "not what was named"), "WrongDigest", "not what was named"),
    "diverged": (fails(44, "the loss is NaN at step 7"), "Diverged", "NaN at step 7"),
    "bad-base": (fails(45, "the base brings code"), "BadBase", "brings code"),
    "a-bug": (fails(1), "TrainingFailed", "ended with exit code 1 and left no word"),
}
FAIL_ONCE = {
    "store-down": (
        fails(7, "http://store.example:8333 does not answer", times=1),
        "StorageUnavailable",
        "does not answer; it is tried again at",
    ),
    "no-bucket": (
        fails(7, "there is no bucket called soups", times=1),
        "StorageUnavailable",
        "no bucket called soups; it is tried again at",
    ),
    "no-memory": (
        fails(137, reason="OOMKilled", times=1),
        "TrainingFailed",
        "it was out of memory: the node node-",
    ),
    "evicted": (
        {
            "verb": "train",
            "removed": "Evicted",
            "message": "The node was low on resource: memory.",
            "times": 1,
        },
        "TrainingFailed",
        "it was evicted: The node was low on resource: memory.; it is tried again at",
    ),
}
ORDERS = {
    **{name: case[0] for name, case in (CANNOT_BEGIN | FAIL_FOR_GOOD | FAIL_ONCE).items()},
    "deleted-job": {"verb": "train", "hold": True, "times": 1},
    "unsigned": waits(
        "ContainerCreating",
        'MountVolume.SetUp failed for volume "signing" : '
        "references non-existent secret key: signing-key.pem",
        "FailedMount",
        verb="sign",
    ),
}
SOURCES = {
    "no-claim": {"pvc": {"claimName": "pictures", "path": "food"}},
    "no-volume": {"pvc": {"claimName": "empty"}},
}


class Trouble:
    """A cluster in which much goes wrong, and other namespaces are short of something."""

    def __init__(self, test_cluster: TestCluster) -> None:
        self.test_cluster = test_cluster
        self.places = {name: test_cluster.add_namespace() for name in (FULL, BARE, CLOSED)}
        self._take_away()
        for name, order in ORDERS.items():
            test_cluster.kubelet.order(Order(shard=name, **order))
        test_cluster.soup(training={"parallelism": 50})
        for name in ORDERS:
            test_cluster.shard(name)
        for name, source in SOURCES.items():
            test_cluster.shard(name, source=source)
        for place in self.places.values():
            place.soup()
            place.shard("food")
        test_cluster.soup("attic", store={"name": "attic"})
        test_cluster.shard("lonely", "nowhere")
        spaces = [test_cluster.studio, *(place.studio for place in self.places.values())]
        test_cluster.operator(workloadNamespaces=spaces)

    def _take_away(self) -> None:
        admin = self.test_cluster.admin
        small = {"metadata": {"name": "small"}, "spec": {"hard": {"pods": "0"}}}
        admin.create(QUOTAS, self.places[FULL].studio, small)
        admin.delete(ACCOUNTS, self.places[BARE].studio, "stockpot-workload")
        rules = [
            rule._replace(verbs=tuple(verb for verb in rule.verbs if verb != "create"))
            if rule.resource == JOBS.plural
            else rule
            for rule in IN_WORKLOAD_NAMESPACE
        ]
        name = f"closed-{self.test_cluster.release}"
        role = {"metadata": {"name": name}, "rules": rules_of(tuple(rules))}
        admin.create(CLUSTER_ROLES, None, role)
        closed = self.places[CLOSED]
        admin.delete(BINDINGS, closed.studio, "operator")
        closed.bind(closed.studio, "ClusterRole", name)
        spec = {
            "accessModes": ["ReadOnlyMany"],
            "storageClassName": "",
            "resources": {"requests": {"storage": "1Gi"}},
        }
        admin.create(
            CLAIMS, self.test_cluster.studio, {"metadata": {"name": "empty"}, "spec": spec}
        )


@pytest.fixture(scope="module")
def trouble(
    admin: Admin, mirror: Mirror, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Trouble]:
    test_cluster = TestCluster(admin, mirror, tmp_path_factory.mktemp("trouble"))
    test_cluster.build()
    yield Trouble(test_cluster)
    test_cluster.tear_down()


def stalls(test_cluster: TestCluster, name: str, reason: str, kind: Resource = DATA_SHARDS) -> str:
    """Wait until it is Stalled for that reason; say its message, as kubectl describe shows it."""
    test_cluster.until(
        lambda: (
            test_cluster.condition(name, "Ready", kind)["reason"] == reason
            and test_cluster.is_so(name, "Stalled", kind)
        ),
        f"{name} is Stalled with {reason}",
        PATIENCE_S,
    )
    message = test_cluster.condition(name, "Ready", kind)["message"]
    assert "; help: " in message
    assert test_cluster.condition(name, "Stalled", kind)["message"] == message
    return str(message)


@pytest.mark.parametrize("shard", CANNOT_BEGIN)
def test_a_training_that_cannot_begin_says_what_it_waits_for(trouble: Trouble, shard: str) -> None:
    _, reason, message = CANNOT_BEGIN[shard]

    stalled = stalls(trouble.test_cluster, shard, reason)

    assert stalled.startswith(f"the training of {shard} waits: ")
    for words in message:
        assert words in stalled
    assert reason in trouble.test_cluster.kubectl("get", "shard", shard)


@pytest.mark.parametrize("shard", FAIL_FOR_GOOD)
def test_a_training_that_would_fail_again_is_not_tried_again(trouble: Trouble, shard: str) -> None:
    _, reason, message = FAIL_FOR_GOOD[shard]

    stalled = stalls(trouble.test_cluster, shard, reason)

    assert message in stalled
    assert "tried again" not in stalled
    assert "Warning" in trouble.test_cluster.kubectl("describe", "shard", shard)


@pytest.mark.parametrize("shard", FAIL_ONCE)
def test_what_failed_by_the_worlds_fault_says_so_and_is_tried_again(
    trouble: Trouble, shard: str
) -> None:
    _, reason, message = FAIL_ONCE[shard]
    test_cluster = trouble.test_cluster

    test_cluster.until(
        lambda: test_cluster.is_so(shard, "Ready"), f"{shard} is learnt all the same", PATIENCE_S
    )

    messages = {
        condition["message"]
        for word in test_cluster.mirror.happened(DATA_SHARDS, [test_cluster.studio])
        if name_of(word.thing) == shard
        for condition in word.thing.get("status", {}).get("conditions", ())
        if (condition["type"], condition["reason"]) == ("Ready", reason)
    }
    assert any(message in text and "; help: " in text for text in messages), messages


def test_a_claim_that_is_not_there_is_named(trouble: Trouble) -> None:
    stalled = stalls(trouble.test_cluster, "no-claim", "ClaimUnbound")

    assert f"the claim pictures is not in the namespace {trouble.test_cluster.studio}" in stalled


def test_a_claim_without_a_volume_is_named(trouble: Trouble) -> None:
    stalled = stalls(trouble.test_cluster, "no-volume", "ClaimUnbound")

    assert "no volume yet (empty)" in stalled
    assert "kubectl describe pvc" in stalled


def test_a_quota_that_is_used_up_is_named(trouble: Trouble) -> None:
    test_cluster = trouble.places[FULL]

    stalled = stalls(test_cluster, "food", "QuotaExceeded")

    assert f"the namespace {test_cluster.studio} has no room for the pod" in stalled
    assert "pods=0" in stalled
    assert "raise the ResourceQuota" in stalled


def test_a_service_account_that_is_missing_is_named(trouble: Trouble) -> None:
    stalled = stalls(trouble.places[BARE], "food", "Forbidden")

    assert "the ServiceAccount" in stalled
    assert "stockpot-workload is not in the namespace" in stalled
    assert "workloadNamespaces" in stalled


def test_a_verb_that_the_operator_may_not_is_named(trouble: Trouble) -> None:
    test_cluster = trouble.places[CLOSED]

    stalled = stalls(test_cluster, "soup", "Forbidden", SOUPS)

    assert "did not create jobs.batch" in stalled
    assert f"kubectl auth can-i create jobs.batch -n {test_cluster.studio}" in stalled


def test_a_store_that_nobody_declared_is_named(trouble: Trouble) -> None:
    stalled = stalls(trouble.test_cluster, "attic", "StoreNotFound", SOUPS)

    assert "no store is called attic; help: name one of default" in stalled


def test_a_soup_that_is_not_there_is_named(trouble: Trouble) -> None:
    stalled = stalls(trouble.test_cluster, "lonely", "SoupNotFound")

    assert "there is no Soup nowhere here; help: apply one of that name" in stalled


def test_a_job_that_was_deleted_by_hand_is_posted_again(trouble: Trouble) -> None:
    test_cluster, shard = trouble.test_cluster, "deleted-job"

    def jobs() -> list[str]:
        every = test_cluster.jobs("train")
        return [
            name_of(thing) for thing in every if labels_on(thing)["stockpot.dev/shard"] == shard
        ]

    test_cluster.until(
        lambda: jobs() and test_cluster.condition(shard, "Ready")["reason"] == "Training", "it runs"
    )
    [name] = jobs()
    test_cluster.kubectl("delete", "job", name, "--wait=false")

    test_cluster.until(
        lambda: test_cluster.is_so(shard, "Ready"), f"{shard} is learnt all the same", PATIENCE_S
    )
    assert test_cluster.posted("train").count(name) == 2


def test_a_receipt_without_its_key_waits_and_says_so(trouble: Trouble) -> None:
    test_cluster, shard = trouble.test_cluster, "unsigned"
    test_cluster.until(lambda: test_cluster.is_so(shard, "Ready"), f"{shard} is learnt", PATIENCE_S)

    test_cluster.delete(shard)
    stalled = stalls(test_cluster, shard, "SecretNotFound")

    assert "the Secret stockpot-signing has no key signing-key.pem" in stalled
    assert test_cluster.condition(shard, "Unlearned")["reason"] == "SecretNotFound"
