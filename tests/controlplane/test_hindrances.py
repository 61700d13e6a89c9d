"""Whatever the cluster does not give is said where a person looks, with what to do about it.

One operator for all of them, and a soup for each: none may hold up another.
"""

import itertools
from collections.abc import Iterator

import pytest
from tests.controlplane.admin import ACCOUNTS, BINDINGS, CLUSTER_ROLES, QUOTAS, Admin, Mirror
from tests.controlplane.kubelet import Order
from tests.controlplane.town import Town, rules_of

from stockpot.cluster.objects import Json, name_of
from stockpot.cluster.permissions import IN_WORKLOAD_NAMESPACE
from stockpot.cluster.resources import JOBS, SOUPS, Resource

CLAIMS = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
_NUMBERS = itertools.count(1)
FULL, BARE, CLOSED = "full", "bare", "closed"


class Trouble:
    """A town in which other namespaces are short of something."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.places = {name: town.suburb() for name in (FULL, BARE, CLOSED)}
        town.admin.create(
            QUOTAS,
            self.places[FULL].studio,
            {"metadata": {"name": "small"}, "spec": {"hard": {"pods": "0"}}},
        )
        town.admin.delete(ACCOUNTS, self.places[BARE].studio, "stockpot-workload")
        rules = [
            rule._replace(verbs=tuple(v for v in rule.verbs if v != "create"))
            if rule.resource == JOBS.plural
            else rule
            for rule in IN_WORKLOAD_NAMESPACE
        ]
        name = f"closed-{town.release}"
        town.admin.create(
            CLUSTER_ROLES, None, {"metadata": {"name": name}, "rules": rules_of(tuple(rules))}
        )
        town.admin.delete(BINDINGS, self.places[CLOSED].studio, "operator")
        self.places[CLOSED].bind(self.places[CLOSED].studio, "ClusterRole", name)
        spaces = [town.studio, *(one.studio for one in self.places.values())]
        town.operator(workloadNamespaces=spaces)

    def apply(self, *orders: Order, **spec: object) -> tuple[str, str]:
        """Apply a soup with one shard, of which that is to become.

        Returns:
            The names of both.
        """
        number = next(_NUMBERS)
        soup, shard = f"soup-{number}", f"shard-{number}"
        for order in orders:
            self.town.kubelet.order(order)
        self.town.soup(soup)
        self.town.shard(shard, soup, **spec)
        return soup, shard


@pytest.fixture(scope="module")
def trouble(
    admin: Admin, mirror: Mirror, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Trouble]:
    town = Town(admin, mirror, tmp_path_factory.mktemp("trouble"))
    town.build()
    yield Trouble(town)
    town.tear_down()


def stalls(town: Town, name: str, reason: str, kind: Resource | None = None) -> str:
    """Wait until it is Stalled for that reason; say its message, as kubectl describe shows it."""
    told = (kind,) if kind else ()
    town.until(
        lambda: (
            town.condition(name, "Ready", *told)["reason"] == reason
            and town.is_so(name, "Stalled", *told)
        ),
        f"{name} is Stalled with {reason}",
    )
    message = town.condition(name, "Ready", *told)["message"]
    assert "; help: " in message
    assert town.condition(name, "Stalled", *told)["message"] == message
    return str(message)


def the_shard(number_after: int = 0) -> str:
    """The name of the shard that `apply` makes next."""
    [following] = [int(repr(_NUMBERS).partition("(")[2].rstrip(")")) + number_after]
    return f"shard-{following}"


def waiting(reason: str, message: str, event: str = "", verb: str = "train") -> Order:
    return Order(verb, the_shard(), waiting=reason, message=message, event=event)


def failing(code: int, problem: str = "", reason: str = "", times: int = 1_000_000) -> Order:
    return Order("train", the_shard(), exit_code=code, problem=problem, reason=reason, times=times)


@pytest.mark.parametrize(
    ("waits", "message", "event", "reason", "said"),
    [
        (
            "ImagePullBackOff",
            'Failed to pull image "example.org/trainer:1": manifest unknown',
            "Failed",
            "ImageUnavailable",
            ("example.org/trainer:1 cannot be pulled", "no such image", "build and push it"),
        ),
        (
            "CreateContainerConfigError",
            'secret "store-workload" not found',
            "",
            "SecretNotFound",
            ("the Secret store-workload is not there", "kubectl create secret generic"),
        ),
        (
            "CreateContainerConfigError",
            "couldn't find key AWS_ACCESS_KEY_ID in Secret studio/store-workload",
            "",
            "SecretNotFound",
            ("the Secret store-workload has no key AWS_ACCESS_KEY_ID",),
        ),
        (
            "ContainerCreating",
            'MountVolume.SetUp failed for volume "claim-0": mount failed: exit status 32',
            "FailedMount",
            "ClaimUnbound",
            ("cannot be mounted", "kubectl describe pod"),
        ),
    ],
)
def test_a_training_that_cannot_begin_says_what_it_waits_for(
    trouble: Trouble, waits: str, message: str, event: str, reason: str, said: tuple[str, ...]
) -> None:
    _, shard = trouble.apply(waiting(waits, message, event))

    told = stalls(trouble.town, shard, reason)

    assert told.startswith(f"the training of {shard} waits: ")
    for words in said:
        assert words in told
    assert shard in trouble.town.kubectl("get", "datashard")


@pytest.mark.parametrize(
    ("code", "problem", "reason", "said"),
    [
        (42, "record 3 has no caption", "BadData", "record 3 has no caption; help: mend it"),
        (43, "the data is not what was named", "WrongDigest", "not what was named"),
        (44, "the loss is NaN at step 7", "Diverged", "NaN at step 7"),
        (45, "the base brings code", "BadBase", "brings code"),
        (1, "", "TrainingFailed", "ended with exit code 1 and left no word"),
    ],
)
def test_a_training_that_would_fail_again_is_not_tried_again(
    trouble: Trouble, code: int, problem: str, reason: str, said: str
) -> None:
    _, shard = trouble.apply(failing(code, problem))

    told = stalls(trouble.town, shard, reason)

    assert said in told
    assert len([name for name in trouble.town.posted("train") if name.endswith("-1")]) > 0
    assert "tried again" not in told


@pytest.mark.parametrize(
    ("order", "reason", "said"),
    [
        (
            {"exit_code": 7, "problem": "http://store.example:8333 does not answer"},
            "StorageUnavailable",
            "does not answer; it is tried again at",
        ),
        (
            {"exit_code": 7, "problem": "there is no bucket called soups"},
            "StorageUnavailable",
            "no bucket called soups; it is tried again at",
        ),
        (
            {"exit_code": 137, "reason": "OOMKilled"},
            "TrainingFailed",
            "it was out of memory: the node node-",
        ),
        (
            {"removed": "Evicted", "message": "The node was low on resource: memory."},
            "TrainingFailed",
            "it was evicted: The node was low on resource: memory.; it is tried again at",
        ),
    ],
)
def test_what_failed_by_the_worlds_fault_says_so_and_is_tried_again(
    trouble: Trouble, order: Json, reason: str, said: str
) -> None:
    town = trouble.town
    _, shard = trouble.apply(Order("train", the_shard(), times=1, **order))

    town.until(lambda: town.condition(shard, "Ready")["reason"] == reason, f"{shard} says {reason}")
    told = town.condition(shard, "Ready")["message"]
    town.until(lambda: town.is_so(shard, "Ready"), f"{shard} is learnt all the same")

    assert said in told
    assert "; help: " in told


def test_a_claim_that_is_not_there_is_named(trouble: Trouble) -> None:
    source = {"pvc": {"claimName": "pictures", "path": "food"}}
    _, shard = trouble.apply(source=source)

    told = stalls(trouble.town, shard, "ClaimUnbound")

    assert f"the claim pictures is not in the namespace {trouble.town.studio}" in told


def test_a_claim_without_a_volume_is_named(trouble: Trouble) -> None:
    spec = {
        "accessModes": ["ReadOnlyMany"],
        "storageClassName": "",
        "resources": {"requests": {"storage": "1Gi"}},
    }
    trouble.town.admin.create(
        CLAIMS, trouble.town.studio, {"metadata": {"name": "empty"}, "spec": spec}
    )
    _, shard = trouble.apply(source={"pvc": {"claimName": "empty"}})

    told = stalls(trouble.town, shard, "ClaimUnbound")

    assert "no volume yet (empty)" in told
    assert "kubectl describe pvc" in told


def test_a_quota_that_is_used_up_is_named(trouble: Trouble) -> None:
    town = trouble.places[FULL]
    town.soup()
    town.shard("food")

    told = stalls(town, "food", "QuotaExceeded")

    assert f"the namespace {town.studio} has no room for the pod" in told
    assert "pods=0" in told
    assert "raise the ResourceQuota" in told


def test_a_service_account_that_is_missing_is_named(trouble: Trouble) -> None:
    town = trouble.places[BARE]
    town.soup()
    town.shard("food")

    told = stalls(town, "food", "Forbidden")

    assert "the ServiceAccount" in told
    assert "stockpot-workload is not in the namespace" in told
    assert "workloadNamespaces" in told


def test_a_verb_that_the_operator_may_not_is_named(trouble: Trouble) -> None:
    town = trouble.places[CLOSED]
    town.soup()
    town.shard("food")

    told = stalls(town, "soup", "Forbidden", SOUPS)

    assert "did not create jobs.batch" in told
    assert f"kubectl auth can-i create jobs.batch -n {town.studio}" in told


def test_a_store_that_nobody_declared_is_named(trouble: Trouble) -> None:
    town = trouble.town
    name = f"elsewhere-{next(_NUMBERS)}"
    town.soup(name, store={"name": "attic"})

    told = stalls(town, name, "StoreNotFound", SOUPS)

    assert "no store is called attic; help: name one of default" in told


def test_a_soup_that_is_not_there_is_named(trouble: Trouble) -> None:
    town = trouble.town
    town.shard("lonely", "nowhere")

    told = stalls(town, "lonely", "SoupNotFound")

    assert "there is no Soup nowhere here; help: apply one of that name" in told


def test_a_job_that_was_deleted_by_hand_is_posted_again(trouble: Trouble) -> None:
    town = trouble.town
    order = Order("train", the_shard(), hold=True, times=1)
    _, shard = trouble.apply(order)
    job = None

    def runs() -> bool:
        nonlocal job
        job = next((one for one in town.jobs("train") if shard in str(one["metadata"])), None)
        return job is not None and town.condition(shard, "Ready")["reason"] == "Training"

    town.until(runs, "it trains")
    assert job
    town.kubectl("delete", "job", name_of(job), "--wait=false")

    town.until(lambda: town.is_so(shard, "Ready"), f"{shard} is learnt all the same")


def test_a_purge_without_its_key_says_so_until_there_is_one(trouble: Trouble) -> None:
    town = trouble.town
    name = the_shard()
    missing = Order(
        "sign",
        name,
        waiting="ContainerCreating",
        message='MountVolume.SetUp failed for volume "signing" : '
        "references non-existent secret key: signing-key.pem",
        event="FailedMount",
    )
    _, shard = trouble.apply(missing)
    town.until(lambda: town.is_so(shard, "Ready"), f"{shard} is learnt")

    town.delete(shard)
    told = stalls(town, shard, "SecretNotFound")

    assert "the Secret stockpot-signing has no key signing-key.pem" in told
    assert town.condition(shard, "Unlearned")["reason"] == "SecretNotFound"
