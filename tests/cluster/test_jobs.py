"""Invariant 10."""

import json

import pytest
from tests.cluster.shapes import (
    BASE,
    DIGEST,
    FOOD,
    LINEAGE,
    NAME,
    SOUP,
    STORE,
    Json,
    a_comparison,
    a_find,
    a_merge,
    a_purge,
    a_signing,
    a_training,
    an_evaluation,
    settings,
)

from stockpot.api.runspec import RUN_SPEC, Location, Place, RunSpec, StoreRef
from stockpot.api.source import PvcSource, S3Source, Source
from stockpot.cluster.apiserver.labels import RUN_SPEC as RUN_SPEC_ANNOTATION
from stockpot.cluster.apiserver.labels import TEMPLATE, job_name
from stockpot.cluster.manifests.jobs import is_outdated, job_of
from stockpot.cluster.manifests.pods import credentials_of, signing_key_path
from stockpot.cluster.manifests.volumes import locate
from stockpot.core.digests import Digest
from stockpot.core.recipe import Ingredient, ShardUID
from stockpot.core.runs import RunName
from stockpot.errors import Refused
from stockpot.unlearning.keys import PREVIOUS

EVERY_RUN = (
    *(a_training(), a_merge(), an_evaluation(), a_purge(), a_signing()),
    *(a_find(), a_comparison()),
)


def made(spec: RunSpec, **changes: object) -> Json:
    return job_of(RunName(spec.name), LINEAGE, spec, settings(**changes))


def pod_of(job: Json) -> Json:
    pod: Json = job["spec"]["template"]["spec"]
    return pod


def container_of(job: Json) -> Json:
    (container,) = pod_of(job)["containers"]
    typed: Json = container
    return typed


@pytest.mark.parametrize("spec", EVERY_RUN, ids=lambda spec: spec.verb)
def test_what_a_run_is_told_stands_in_its_pods_annotation(spec: RunSpec) -> None:
    job = made(spec)

    text = job["spec"]["template"]["metadata"]["annotations"]["stockpot.dev/run-spec"]

    assert RUN_SPEC.validate_json(text) == spec
    (volume,) = (item for item in pod_of(job)["volumes"] if item["name"] == "run")
    assert volume["downwardAPI"]["items"] == [
        {
            "path": "spec.json",
            "fieldRef": {"fieldPath": "metadata.annotations['stockpot.dev/run-spec']"},
        }
    ]
    assert "/etc/stockpot/run/spec.json" in container_of(job)["command"]


@pytest.mark.parametrize("spec", EVERY_RUN, ids=lambda spec: spec.verb)
def test_every_pod_fits_the_restricted_level(spec: RunSpec) -> None:
    pod, container = pod_of(made(spec)), container_of(made(spec))

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 65532
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


def test_a_job_is_found_again_by_its_name_and_labels() -> None:
    job = made(a_training())

    assert job["metadata"]["name"] == f"emoji-5f3a9-{NAME}"
    assert job["metadata"]["namespace"] == "studio"
    assert job["metadata"]["labels"] == {
        "app.kubernetes.io/name": "stockpot",
        "app.kubernetes.io/managed-by": "stockpot",
        "app.kubernetes.io/component": "train",
        "stockpot.dev/soup": "emoji",
        "stockpot.dev/soup-uid": SOUP.uid,
        "stockpot.dev/soup-namespace": "studio",
        "stockpot.dev/run": NAME,
        "stockpot.dev/shard": "food",
        "stockpot.dev/shard-uid": FOOD.uid,
    }
    assert job["spec"]["template"]["metadata"]["labels"] == job["metadata"]["labels"]
    assert json.loads(job["metadata"]["annotations"]["stockpot.dev/lineage"]) == [[FOOD.uid, ""]]


def test_the_longest_name_of_a_soup_still_makes_a_jobs_name() -> None:
    soup = SOUP.model_copy(update={"name": "a-soup-of-which--the-name-has-fifty-letters-in-all"})

    name = job_name(soup, RunName("evaluate-a1a1a1a1-100"))

    assert name == "a-soup-of-which-5f3a9-evaluate-a1a1a1a1-100"
    assert len(name) <= 63


def test_purge_and_sign_run_where_the_release_is_and_may_delete() -> None:
    for spec in (a_purge(), a_signing(), a_find(), a_comparison()):
        job = made(spec)

        assert job["metadata"]["namespace"] == "stockpot-system"
        # An owner in another namespace would have the garbage collector delete the Job.
        assert "ownerReferences" not in job["metadata"]
        assert container_of(job)["envFrom"] == [{"secretRef": {"name": "store-unlearn"}}]
        assert container_of(job)["image"] == "example.org/stockpot:1"
        assert pod_of(job)["serviceAccountName"] == "stockpot-unlearn"


def test_other_runs_are_the_soups_and_may_not_delete() -> None:
    for spec in (a_training(), a_merge(), an_evaluation()):
        job = made(spec)

        (owner,) = job["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"]) == ("Soup", SOUP.uid)
        assert container_of(job)["envFrom"] == [{"secretRef": {"name": "store-workload"}}]
        assert container_of(job)["image"] == "example.org/trainer:1"
        assert pod_of(job)["serviceAccountName"] == "stockpot-workload"


def test_a_namespace_with_an_identity_of_its_own_uses_it() -> None:
    credentials = {"namespaces": {"studio": "store-studio"}, "unlearn": "store-unlearn"}
    store = {"url": STORE.url, "endpoint": STORE.endpoint, "credentials": credentials}
    own = settings(stores={"default": store})

    assert credentials_of(a_training(), own) == "store-studio"
    assert credentials_of(a_purge(), own) == "store-unlearn"


def test_an_identity_of_the_service_account_needs_no_secret() -> None:
    store = {"url": STORE.url, "endpoint": STORE.endpoint, "credentials": {}}
    job = job_of(NAME, LINEAGE, a_training(), settings(stores={"default": store}))

    assert "envFrom" not in container_of(job)


def test_only_a_signing_sees_the_key() -> None:
    seeing = [spec.verb for spec in EVERY_RUN if "stockpot-signing" in json.dumps(made(spec))]

    assert seeing == ["sign"]
    (mount,) = (
        item
        for item in container_of(made(a_signing()))["volumeMounts"]
        if item["name"] == "signing"
    )
    path = signing_key_path(settings())
    assert path == f"{mount['mountPath']}/signing-key.pem"


def test_a_signing_sees_the_key_before_its_own_where_there_is_one() -> None:
    volumes = pod_of(made(a_signing()))["volumes"]

    (signing,) = (
        volume["projected"]["sources"] for volume in volumes if volume["name"] == "signing"
    )
    optional_by_path = {
        item["path"]: source["secret"].get("optional", False)
        for source in signing
        for item in source["secret"]["items"]
    }
    assert optional_by_path == {"signing-key.pem": False, PREVIOUS: True}


def test_a_training_sees_its_own_data_and_the_base_and_nothing_else() -> None:
    job = made(a_training())

    volumes = [item for item in pod_of(job)["volumes"] if "persistentVolumeClaim" in item]
    mounts = [
        item for item in container_of(job)["volumeMounts"] if item["name"].startswith("claim-")
    ]

    assert [volume["persistentVolumeClaim"] for volume in volumes] == [
        {"claimName": "data", "readOnly": True}
    ]
    assert mounts == [
        {
            "name": "claim-0",
            "mountPath": "/claims/data/base",
            "subPath": "base",
            "readOnly": True,
        },
        {
            "name": "claim-0",
            "mountPath": "/claims/data/food",
            "subPath": "food",
            "readOnly": True,
        },
    ]


def test_a_whole_claim_is_mounted_without_a_sub_path() -> None:
    mounts = container_of(made(an_evaluation()))["volumeMounts"]

    (held_out,) = (mount for mount in mounts if mount["mountPath"] == "/claims/held-out")
    assert "subPath" not in held_out


def test_one_folder_that_is_source_and_base_is_mounted_once() -> None:
    mounts = container_of(made(a_training(source=BASE.location.path)))["volumeMounts"]

    assert [mount["mountPath"] for mount in mounts].count("/claims/data/base") == 1


def test_a_source_is_found_where_its_claim_is_mounted() -> None:
    pvc = Source(pvc=PvcSource(claim_name="data", path="food/"))
    whole = Source(pvc=PvcSource(claim_name="data"))
    s3 = Source(s3=S3Source(prefix="data/food/"))

    assert locate(pvc) == Location(place=Place.FOLDER, path="/claims/data/food")
    assert locate(whole) == Location(place=Place.FOLDER, path="/claims/data")
    assert locate(s3) == Location(place=Place.STORE, path="data/food/")


def test_a_path_that_leaves_its_claim_is_refused() -> None:
    source = Source(pvc=PvcSource(claim_name="data", path="food/../../other"))

    with pytest.raises(Refused, match="leaves the claim data") as refused:
        locate(source)

    assert "without .." in refused.value.help


def test_disruptions_are_ignored_before_our_own_exit_codes_fail_the_job() -> None:
    spec = made(a_training())["spec"]

    assert spec["backoffLimit"] == 0
    assert "ttlSecondsAfterFinished" not in spec
    assert "activeDeadlineSeconds" not in spec
    assert [item["action"] for item in spec["podFailurePolicy"]["rules"]] == ["Ignore", "FailJob"]
    assert spec["podFailurePolicy"]["rules"][1]["onExitCodes"]["values"] == list(range(42, 60))
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


@pytest.mark.parametrize("spec", EVERY_RUN, ids=lambda spec: spec.verb)
def test_a_job_is_up_to_date_with_the_settings_that_made_it(spec: RunSpec) -> None:
    assert not is_outdated(made(spec), settings())


@pytest.mark.parametrize(
    "changes",
    [
        {"images": {"workload": "x:2", "unlearn": "y:2"}},
        {"pods": {"resources": {"train": {"limits": {"memory": "2Gi"}}}}},
        {"pods": {"nodeSelector": {"gpu": "yes"}}},
        {"stores": {}},
    ],
    ids=["image", "memory", "node", "store"],
)
def test_a_job_is_outdated_once_its_settings_change(changes: dict[str, object]) -> None:
    assert is_outdated(made(a_training()), settings(**changes))


def test_a_job_that_a_webhook_changed_is_up_to_date() -> None:
    """Or it would be replaced for ever: the next one is changed as well."""
    job = made(a_training())
    container_of(job)["image"] = "mirror.example/trainer:1"
    pod_of(job)["nodeSelector"] = {"zone": "b"}
    job["spec"]["template"]["metadata"]["annotations"]["sidecar.example/injected"] = "yes"

    assert not is_outdated(job, settings())


@pytest.mark.parametrize("annotation", [RUN_SPEC_ANNOTATION, TEMPLATE])
def test_a_job_of_a_release_that_annotated_less_is_outdated(annotation: str) -> None:
    job = made(a_training())
    del job["spec"]["template"]["metadata"]["annotations"][annotation]

    assert is_outdated(job, settings())


def test_what_the_admin_adds_is_in_every_pod() -> None:
    job = made(
        a_training(),
        pods={
            "env": [{"name": "OMP_NUM_THREADS", "value": "4"}],
            "volumes": [{"name": "code", "persistentVolumeClaim": {"claimName": "code"}}],
            "volumeMounts": [{"name": "code", "mountPath": "/opt/code", "readOnly": True}],
            "nodeSelector": {"gpu": "yes"},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
            "runtimeClassName": "nvidia",
            "resources": {"train": {"limits": {"nvidia.com/gpu": 1}}},
        },
    )

    assert {"name": "OMP_NUM_THREADS", "value": "4"} in container_of(job)["env"]
    assert container_of(job)["resources"] == {"limits": {"nvidia.com/gpu": 1}}
    assert container_of(job)["volumeMounts"][-1]["name"] == "code"
    assert pod_of(job)["volumes"][-1]["name"] == "code"
    assert pod_of(job)["nodeSelector"] == {"gpu": "yes"}
    assert pod_of(job)["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    assert pod_of(job)["runtimeClassName"] == "nvidia"
    assert container_of(made(a_purge()))["resources"] == {}


def test_a_run_of_too_many_shards_is_refused_before_the_api_server_does() -> None:
    with pytest.raises(Refused, match="256 KiB") as refused:
        made(a_merge(shards=2_000))

    assert "several soups" in refused.value.help


def test_a_run_of_a_thousand_shards_fits() -> None:
    spec = a_merge(shards=1_000)
    lineage = frozenset(Ingredient(ShardUID(part.shard_uid), Digest(DIGEST)) for part in spec.parts)

    job = job_of(RunName(spec.name), lineage, spec, settings())

    assert (
        len(job["spec"]["template"]["metadata"]["annotations"]["stockpot.dev/run-spec"]) > 200_000
    )


def test_a_store_that_nobody_declared_is_refused_by_name() -> None:
    spec = a_training().model_copy(update={"store": StoreRef(url="s3://elsewhere/x")})

    with pytest.raises(Refused, match="s3://elsewhere/x") as refused:
        made(spec)

    assert "default" in refused.value.help
    assert STORE.url not in refused.value.message
