"""Whatever the cluster does not give is said where a person looks, with what to do about it.

One operator and one soup for all of them, applied at once: none may hold up another.
"""

from collections.abc import Iterator

import pytest
from tests.controlplane.admin import ACCOUNTS, BINDINGS, CLUSTER_ROLES, QUOTAS, Admin, Mirror
from tests.controlplane.kubelet import Order
from tests.controlplane.town import Town, rules_of

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
        ("the Secret store-workload is not there", "kubectl create secret generic"),
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
    """A town in which much goes wrong, and other namespaces are short of something."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.places = {name: town.suburb() for name in (FULL, BARE, CLOSED)}
        self._take_away()
        for name, order in ORDERS.items():
            town.kubelet.order(Order(shard=name, **order))
        town.soup(training={"parallelism": 50})
        for name in ORDERS:
            town.shard(name)
        for name, source in SOURCES.items():
            town.shard(name, source=source)
        for place in self.places.values():
            place.soup()
            place.shard("food")
        town.soup("attic", store={"name": "attic"})
        town.shard("lonely", "nowhere")
        spaces = [town.studio, *(place.studio for place in self.places.values())]
        town.operator(workloadNamespaces=spaces)

    def _take_away(self) -> None:
        admin = self.town.admin
        small = {"metadata": {"name": "small"}, "spec": {"hard": {"pods": "0"}}}
        admin.create(QUOTAS, self.places[FULL].studio, small)
        admin.delete(ACCOUNTS, self.places[BARE].studio, "stockpot-workload")
        rules = [
            rule._replace(verbs=tuple(verb for verb in rule.verbs if verb != "create"))
            if rule.resource == JOBS.plural
            else rule
            for rule in IN_WORKLOAD_NAMESPACE
        ]
        name = f"closed-{self.town.release}"
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
        admin.create(CLAIMS, self.town.studio, {"metadata": {"name": "empty"}, "spec": spec})


@pytest.fixture(scope="module")
def trouble(
    admin: Admin, mirror: Mirror, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Trouble]:
    town = Town(admin, mirror, tmp_path_factory.mktemp("trouble"))
    town.build()
    yield Trouble(town)
    town.tear_down()


def stalls(town: Town, name: str, reason: str, kind: Resource = DATA_SHARDS) -> str:
    """Wait until it is Stalled for that reason; say its message, as kubectl describe shows it."""
    town.until(
        lambda: (
            town.condition(name, "Ready", kind)["reason"] == reason
            and town.is_so(name, "Stalled", kind)
        ),
        f"{name} is Stalled with {reason}",
        PATIENCE_S,
    )
    message = town.condition(name, "Ready", kind)["message"]
    assert "; help: " in message
    assert town.condition(name, "Stalled", kind)["message"] == message
    return str(message)


@pytest.mark.parametrize("shard", CANNOT_BEGIN)
def test_a_training_that_cannot_begin_says_what_it_waits_for(trouble: Trouble, shard: str) -> None:
    _, reason, message = CANNOT_BEGIN[shard]

    stalled = stalls(trouble.town, shard, reason)

    assert stalled.startswith(f"the training of {shard} waits: ")
    for words in message:
        assert words in stalled
    assert reason in trouble.town.kubectl("get", "shard", shard)


@pytest.mark.parametrize("shard", FAIL_FOR_GOOD)
def test_a_training_that_would_fail_again_is_not_tried_again(trouble: Trouble, shard: str) -> None:
    _, reason, message = FAIL_FOR_GOOD[shard]

    stalled = stalls(trouble.town, shard, reason)

    assert message in stalled
    assert "tried again" not in stalled
    assert "Warning" in trouble.town.kubectl("describe", "shard", shard)


@pytest.mark.parametrize("shard", FAIL_ONCE)
def test_what_failed_by_the_worlds_fault_says_so_and_is_tried_again(
    trouble: Trouble, shard: str
) -> None:
    _, reason, message = FAIL_ONCE[shard]
    town = trouble.town

    town.until(lambda: town.is_so(shard, "Ready"), f"{shard} is learnt all the same", PATIENCE_S)

    messages = {
        condition["message"]
        for word in town.mirror.happened(DATA_SHARDS, [town.studio])
        if name_of(word.thing) == shard
        for condition in word.thing.get("status", {}).get("conditions", ())
        if (condition["type"], condition["reason"]) == ("Ready", reason)
    }
    assert any(message in text and "; help: " in text for text in messages), messages


def test_a_claim_that_is_not_there_is_named(trouble: Trouble) -> None:
    stalled = stalls(trouble.town, "no-claim", "ClaimUnbound")

    assert f"the claim pictures is not in the namespace {trouble.town.studio}" in stalled


def test_a_claim_without_a_volume_is_named(trouble: Trouble) -> None:
    stalled = stalls(trouble.town, "no-volume", "ClaimUnbound")

    assert "no volume yet (empty)" in stalled
    assert "kubectl describe pvc" in stalled


def test_a_quota_that_is_used_up_is_named(trouble: Trouble) -> None:
    town = trouble.places[FULL]

    stalled = stalls(town, "food", "QuotaExceeded")

    assert f"the namespace {town.studio} has no room for the pod" in stalled
    assert "pods=0" in stalled
    assert "raise the ResourceQuota" in stalled


def test_a_service_account_that_is_missing_is_named(trouble: Trouble) -> None:
    stalled = stalls(trouble.places[BARE], "food", "Forbidden")

    assert "the ServiceAccount" in stalled
    assert "stockpot-workload is not in the namespace" in stalled
    assert "workloadNamespaces" in stalled


def test_a_verb_that_the_operator_may_not_is_named(trouble: Trouble) -> None:
    town = trouble.places[CLOSED]

    stalled = stalls(town, "soup", "Forbidden", SOUPS)

    assert "did not create jobs.batch" in stalled
    assert f"kubectl auth can-i create jobs.batch -n {town.studio}" in stalled


def test_a_store_that_nobody_declared_is_named(trouble: Trouble) -> None:
    stalled = stalls(trouble.town, "attic", "StoreNotFound", SOUPS)

    assert "no store is called attic; help: name one of default" in stalled


def test_a_soup_that_is_not_there_is_named(trouble: Trouble) -> None:
    stalled = stalls(trouble.town, "lonely", "SoupNotFound")

    assert "there is no Soup nowhere here; help: apply one of that name" in stalled


def test_a_job_that_was_deleted_by_hand_is_posted_again(trouble: Trouble) -> None:
    town, shard = trouble.town, "deleted-job"

    def jobs() -> list[str]:
        every = town.jobs("train")
        return [
            name_of(thing) for thing in every if labels_on(thing)["stockpot.dev/shard"] == shard
        ]

    town.until(lambda: jobs() and town.condition(shard, "Ready")["reason"] == "Training", "it runs")
    [name] = jobs()
    town.kubectl("delete", "job", name, "--wait=false")

    town.until(lambda: town.is_so(shard, "Ready"), f"{shard} is learnt all the same", PATIENCE_S)
    assert town.posted("train").count(name) == 2


def test_a_receipt_without_its_key_waits_and_says_so(trouble: Trouble) -> None:
    town, shard = trouble.town, "unsigned"
    town.until(lambda: town.is_so(shard, "Ready"), f"{shard} is learnt", PATIENCE_S)

    town.delete(shard)
    stalled = stalls(town, shard, "SecretNotFound")

    assert "the Secret stockpot-signing has no key signing-key.pem" in stalled
    assert town.condition(shard, "Unlearned")["reason"] == "SecretNotFound"
