"""Settings, runs, and the objects that controllers and kubelets make of them, in a few words."""

from typing import Any

from stockpot.api.results import ResultMessage
from stockpot.api.runspec import (
    BaseRef,
    CompareRun,
    EvaluateRun,
    FindRun,
    Location,
    MergeRun,
    ObjectRef,
    Place,
    PurgeRun,
    ReceiptRequest,
    RecipePart,
    RevisionRef,
    RunSpec,
    ServeRun,
    SignRun,
    StoreRef,
    TrainRun,
)
from stockpot.api.training import Training, WeightsDtype
from stockpot.cluster.apiserver.settings import OperatorSettings
from stockpot.cluster.manifests.jobs import job_of
from stockpot.core.digests import Digest
from stockpot.core.recipe import Ingredient, Lineage, ShardUID
from stockpot.core.runs import RunName

Json = dict[str, Any]

DIGEST = Digest("sha256:" + "a1" * 32)
STORE = StoreRef(url="s3://soups/here", endpoint="http://store.example:8333")
SOUP = ObjectRef(namespace="studio", name="emoji", uid="5f3a9c11-0000-4000-8000-000000000000")
FOOD = ObjectRef(namespace="studio", name="food", uid="7d21e0b4-1111-4111-8111-111111111111")
BASE = BaseRef(location=Location(place=Place.FOLDER, path="/claims/data/base"))
NAME = RunName("train-7d21e0b4-a1a1a1a1-1")
LINEAGE: Lineage = frozenset({Ingredient(ShardUID(FOOD.uid), Digest(""))})


def settings(**changes: Any) -> OperatorSettings:
    settings_fields: Json = {
        "release": {"name": "stockpot", "namespace": "stockpot-system"},
        "workloadNamespaces": ["studio"],
        "images": {"workload": "example.org/trainer:1", "unlearn": "example.org/stockpot:1"},
        "stores": {
            "default": {
                "url": STORE.url,
                "endpoint": STORE.endpoint,
                "credentials": {"workload": "store-workload", "unlearn": "store-unlearn"},
            }
        },
        "serviceAccounts": {"workload": "stockpot-workload", "unlearn": "stockpot-unlearn"},
        "signingKey": {"secret": "stockpot-signing"},
    }
    return OperatorSettings.model_validate({**settings_fields, **changes})


def a_training(source: str = "/claims/data/food") -> TrainRun:
    return TrainRun(
        name=NAME,
        store=STORE,
        soup=SOUP,
        shard=FOOD,
        request=DIGEST,
        base=BASE,
        source=Location(place=Place.FOLDER, path=source),
        training=Training(),
    )


def a_merge(shards: int = 1) -> MergeRun:
    parts = tuple(
        RecipePart(
            shard_uid=f"{n:08d}{FOOD.uid[8:]}",
            training_key=DIGEST,
            weights_digest=DIGEST,
            weight=1,
        )
        for n in range(shards)
    )
    return MergeRun(
        name="merge-a1a1a1a1-1",
        store=STORE,
        soup=SOUP,
        recipe_digest=DIGEST,
        parts=parts,
        output=WeightsDtype.FP16,
        base=BASE,
    )


def an_evaluation() -> EvaluateRun:
    return EvaluateRun(
        name="evaluate-a1a1a1a1-1",
        store=STORE,
        soup=SOUP,
        revision=RevisionRef(recipe_digest=DIGEST, weights_digest=DIGEST),
        base=BASE,
        held_out=Location(place=Place.FOLDER, path="/claims/held-out"),
        suite=(),
        resolution=32,
    )


def a_purge() -> PurgeRun:
    return PurgeRun(name="purge-7d21e0b4-1", store=STORE, soup=SOUP, shard=FOOD)


def a_find() -> FindRun:
    return FindRun(
        name="find-7d21e0b4-1",
        store=STORE,
        soup=SOUP,
        shard=FOOD,
        training_key=DIGEST,
        names=("a.png",),
    )


def a_comparison() -> CompareRun:
    return CompareRun(
        name="compare-7d21e0b4-1", store=STORE, soup=SOUP, shard=FOOD, training_key=DIGEST
    )


def a_signing() -> SignRun:
    return SignRun(
        name="sign-7d21e0b4-1",
        store=STORE,
        soup=SOUP,
        receipts=(ReceiptRequest(shard=FOOD, requested_at="2026-11-22T12:00:00Z"),),
        successor=None,
        signing_key="/etc/stockpot/signing/signing-key.pem",
    )


def servers(drain_s: int = 10) -> ServeRun:
    return ServeRun(name="serve-emoji", store=STORE, soup=SOUP, base=BASE, drain_s=drain_s)


def a_job(spec: RunSpec | None = None, lineage: Lineage = LINEAGE) -> Json:
    """A Job as it stands after it was posted."""
    spec = spec or a_training()
    job = job_of(RunName(spec.name), lineage, spec, settings())
    job["metadata"] |= {"uid": "job-uid", "resourceVersion": "7"}
    return job


def ended(job: Json, how: str, reason: str = "") -> Json:
    """The Job, as its controller leaves it."""
    condition = {
        "type": how,
        "status": "True",
        "reason": reason,
        "lastProbeTime": "2026-11-22T12:10:00Z",
        "lastTransitionTime": "2026-11-22T12:10:00Z",
    }
    return {**job, "status": {"conditions": [condition]}}


def a_pod(job: Json, phase: str = "Running", name: str = "pod-1", **status: Any) -> Json:
    """A pod of the Job, as its controller makes it of the template."""
    template = job["spec"]["template"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{job['metadata']['name']}-{name}",
            "namespace": job["metadata"]["namespace"],
            "uid": f"{name}-uid",
            "creationTimestamp": "2026-11-22T12:00:00Z",
            "labels": dict(template["metadata"]["labels"]),
            "annotations": dict(template["metadata"]["annotations"]),
            "ownerReferences": [
                {
                    "apiVersion": job["apiVersion"],
                    "kind": job["kind"],
                    "name": job["metadata"]["name"],
                    "uid": job["metadata"]["uid"],
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {**template["spec"], "nodeName": "node-1"},
        "status": {"phase": phase, **status},
    }


def a_container(job: Json, state: Json, **more: Any) -> list[Json]:
    """What a kubelet says of the pod's container."""
    container = job["spec"]["template"]["spec"]["containers"][0]
    return [
        {
            "name": container["name"],
            "image": container["image"],
            "imageID": "",
            "ready": False,
            "restartCount": 0,
            "started": False,
            "state": state,
            "lastState": {},
            **more,
        }
    ]


def a_pod_that_ended(job: Json, exit_code: int, message: str = "", reason: str = "") -> Json:
    state = {
        "terminated": {
            "exitCode": exit_code,
            "reason": reason or ("Completed" if exit_code == 0 else "Error"),
            "message": message,
            "startedAt": "2026-11-22T12:01:00Z",
            "finishedAt": "2026-11-22T12:09:30Z",
            "containerID": "containerd://1",
        }
    }
    phase = "Succeeded" if exit_code == 0 else "Failed"
    return a_pod(job, phase, containerStatuses=a_container(job, state))


def a_pod_that_waits(job: Json, reason: str, message: str = "", **more: Any) -> Json:
    waiting = {"reason": reason, "message": message}
    conditions = [{"type": "PodScheduled", "status": "True"}]
    statuses = a_container(job, {"waiting": waiting}, **more)
    return a_pod(job, "Pending", conditions=conditions, containerStatuses=statuses)


def an_event(about: Json, reason: str, message: str, at: str = "2026-11-22T12:02:00Z") -> Json:
    return {
        "metadata": {"name": f"event-{reason}-{at}", "namespace": "studio"},
        "involvedObject": {
            "kind": about["kind"],
            "name": about["metadata"]["name"],
            "namespace": about["metadata"]["namespace"],
            "uid": about["metadata"]["uid"],
        },
        "reason": reason,
        "message": message,
        "type": "Warning",
        "count": 3,
        "firstTimestamp": at,
        "lastTimestamp": at,
    }


def message_of(result: ResultMessage) -> str:
    """A termination message."""
    return result.model_dump_json(by_alias=True, exclude_none=True)
