"""The long story, `make e2e`: whatever is killed on a real node, every soup ends as it would have.

Slow, so it runs only when asked for (E2E=long). The tests share one node, and each has a soup.
"""

import base64
import json
import os
import subprocess
import sys
import time
from typing import Any

import pytest
from devcluster import objects
from devcluster.places import REPOSITORY
from tests.e2e.studio import (
    NAMESPACE,
    SYSTEM,
    WHY_NOT,
    Studio,
    ask,
    attempts,
    namespace_is_gone,
)

from stockpot.api.runspec import StoreRef
from stockpot.cluster.apiserver.resources import DATA_SHARDS
from stockpot.store.keys import Keys
from stockpot.store.open import open_store
from stockpot.store.port import ObjectStore

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(os.environ.get("E2E") != "long", reason="not run: `make e2e` runs it"),
    pytest.mark.skipif(bool(WHY_NOT), reason=f"not run: {WHY_NOT}"),
    pytest.mark.timeout(1200),
]
TRAINER = "app.kubernetes.io/component=train,stockpot.dev/soup={}"
SERVER = "app.kubernetes.io/component=serve,stockpot.dev/soup={}"


@pytest.fixture(scope="module")
def undisturbed(studio: Studio) -> str:
    """The weights of two shards that nobody disturbed."""
    studio.apply("calm", "one", "two")
    return studio.settled("calm", "one", "two")


def test_from_apply_to_the_first_answer_takes_little_beside_training(
    studio: Studio, undisturbed: str
) -> None:
    studio.apply("quick", "one")
    url = studio.url("quick")
    studio.settled("quick", "one")
    before, began_s = studio.current("quick"), time.time()
    studio.apply("quick", "one", "two")
    trained: dict[str, float] = {}

    def answers() -> bool:
        for job in studio.jobs("quick", "train"):
            shard = job["metadata"]["labels"]["stockpot.dev/shard"]
            if shard == "quick-two":
                trained.setdefault("began", time.time())
                if job["status"].get("completionTime"):
                    trained.setdefault("ended", time.time())
        shard_is_done = studio.shard("quick-two")
        if shard_is_done and shard_is_done.status.ingredient:
            trained.setdefault("ended", time.time())
        said = ask(url).weights
        return bool(said) and said != before

    studio.until(answers, "an answer of the new revision")
    took_s = time.time() - began_s
    beside_s = took_s - (trained["ended"] - trained["began"])

    say(f"apply to the first answer: {took_s:.1f} s, {beside_s:.1f} s of it beside training")
    assert beside_s < 30
    assert studio.settled("quick", "one", "two") == undisturbed


def test_a_deletion_has_its_receipt_within_a_minute(studio: Studio) -> None:
    took_s = studio.forget("quick", "two")

    say(f"delete to receipt: {took_s:.1f} s")
    assert took_s < 60
    assert len(studio.receipts(studio.soup("quick").metadata.uid)) == 1


@pytest.mark.parametrize("moment", ["train", "merge", "serve", "purge", "sign"])
def test_whoever_kills_the_leader_changes_nothing(
    studio: Studio, undisturbed: str, moment: str
) -> None:
    soup = f"lead-{moment}"
    if moment in {"purge", "sign"}:
        studio.apply(soup, "one", "two", "three")
        studio.settled(soup, "one", "two", "three")
        shard = ("delete", "shard", f"{soup}-three", "-n", NAMESPACE, "--wait=false")
        studio.kubectl(*shard)
        studio.until(lambda: studio.jobs(soup, moment), f"a {moment} Job")
    else:
        studio.apply(soup, "one", "two")
        if moment == "serve":
            studio.until(lambda: studio.current(soup), "the base is promoted")
        else:
            studio.until(lambda: studio.jobs(soup, moment), f"a {moment} Job")
    leader = studio.until(studio.leader, "somebody leads")
    began_s = time.monotonic()

    studio.kill_pod(SYSTEM, leader.rpartition("_")[0])

    studio.until(lambda: studio.leader() not in {"", leader}, "another process leads")
    say(f"killed at {moment}: led again after {time.monotonic() - began_s:.1f} s")
    assert studio.settled(soup, "one", "two") == undisturbed
    assert set(attempts(studio.jobs(soup)).values()) <= {1}


def test_a_killed_trainer_goes_on_from_its_checkpoint_to_the_same_bytes(studio: Studio) -> None:
    studio.apply("slow", "one", steps=240, every=20)
    calm = studio.settled("slow", "one")
    studio.apply("slower", "one", steps=240, every=20)

    def is_halfway() -> bool:
        shard = studio.shard("slower-one")
        training = shard.status.training if shard else None
        return bool(training and training.step > 40)

    studio.until(is_halfway, "it is on its way")
    [pod] = studio.pods(NAMESPACE, TRAINER.format("slower"))
    studio.kill_pod(NAMESPACE, pod["metadata"]["name"])

    studio.until(lambda: 2 in attempts(studio.jobs("slower", "train")).values(), "a second attempt")

    def first_step() -> int:
        said = studio.shard("slower-one")
        training = said.status.training if said else None
        is_on = training is not None and training.run_name.endswith("-2")
        return training.step if training and is_on and training.phase == "training" else 0

    assert studio.until(first_step, "the second attempt trains") >= 40
    assert studio.settled("slower", "one") == calm


def test_a_killed_server_serves_the_same_again(studio: Studio, undisturbed: str) -> None:
    url = studio.url("calm")
    [pod] = studio.pods(NAMESPACE, SERVER.format("calm"))

    studio.kubectl("delete", "pod", pod["metadata"]["name"], "-n", NAMESPACE, "--wait=false")

    def answers() -> bool:
        pods = {pod["metadata"]["name"] for pod in studio.pods(NAMESPACE, SERVER.format("calm"))}
        return pod["metadata"]["name"] not in pods and ask(url).status == 200

    studio.until(answers, "another server answers")
    assert ask(url).weights == undisturbed


def test_a_kubelet_that_starts_again_loses_nothing(studio: Studio, undisturbed: str) -> None:
    studio.apply("node", "one", "two")
    studio.until(lambda: studio.jobs("node", "train"), "a training")

    devcluster(studio, "kill", "kubelet")
    devcluster(studio, "up")

    assert studio.settled("node", "one", "two") == undisturbed


def test_a_store_that_is_away_for_a_minute_is_waited_for(studio: Studio, undisturbed: str) -> None:
    scale = ("scale", "deployment/seaweedfs", "-n", objects.STORE)
    studio.kubectl(*scale, "--replicas=0")
    selector = "app.kubernetes.io/name=seaweedfs"
    studio.until(lambda: not studio.pods(objects.STORE, selector), "the store is away")
    studio.apply("away", "one", "two", "three")
    time.sleep(60)  # What is tried is time itself.
    studio.kubectl(*scale, "--replicas=1")
    studio.settled("away", "one", "two", "three")
    studio.kubectl(*scale, "--replicas=0")
    gone = ("delete", "shard", "away-three", "-n", NAMESPACE, "--wait=false")
    studio.kubectl(*gone)
    time.sleep(20)
    assert studio.shard("away-three")
    studio.kubectl(*scale, "--replicas=1")

    studio.until(lambda: not studio.shard("away-three"), "it is forgotten after all")

    assert studio.settled("away", "one", "two") == undisturbed


def test_a_namespace_that_is_deleted_leaves_its_receipts_in_the_store(
    studio: Studio, undisturbed: str
) -> None:
    assert undisturbed
    uid = studio.soup("calm").metadata.uid
    known = studio.client.list(DATA_SHARDS, NAMESPACE).items
    shards = {one["metadata"]["uid"] for one in known if one["spec"]["soupRef"]["name"] == "calm"}

    studio.kubectl("delete", "namespace", NAMESPACE, "--wait=false")

    studio.until(lambda: namespace_is_gone(studio.client, NAMESPACE), "the namespace goes", 600)
    with studio.store() as endpoint:
        store = open_store(StoreRef(url="s3://stockpot", endpoint=endpoint))
        said = [
            what_it_says(store, receipt.key)
            for receipt in store.list(Keys(NAMESPACE).receipts(uid))
        ]
        left = [one.key for one in store.list(f"{NAMESPACE}/shards/")]
    # Before it, a receipt may have had to say that something could not be asked.
    complete = [one["shard"]["uid"] for one in said if one["completeness"] == "Complete"]
    say(f"receipts: {[(one['shard']['name'], one['completeness']) for one in said]}")
    assert sorted(complete) == sorted(shards)
    assert len(shards) == 2
    assert not [key for key in left if any(uid in key for uid in shards)]


def what_it_says(store: ObjectStore, key: str) -> dict[str, Any]:
    """Read the predicate of a receipt, which nobody checks here."""
    data = store.get(key)
    assert data is not None
    statement = json.loads(base64.b64decode(json.loads(data)["payload"]))
    predicate: dict[str, Any] = statement["predicate"]
    return predicate


def say(figure: str) -> None:
    """Show what was measured, beside the dots."""
    sys.stdout.write(f"\n{figure}\n")


def devcluster(studio: Studio, *words: str) -> None:
    command = [sys.executable, "-m", "devcluster", "--name", studio.places.name, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
