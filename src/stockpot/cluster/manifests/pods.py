"""Builds the pod template of every verb: one container with its RunSpec in an annotation.

It meets the Pod Security level `restricted`: not root, no token, no capability, and only two
writable scratch folders.
"""

from stockpot.api.runspec import RunSpec, StoreRef
from stockpot.cluster.apiserver.labels import RUN_SPEC, TEMPLATE, labels_of
from stockpot.cluster.apiserver.objects import Json
from stockpot.cluster.apiserver.settings import OperatorSettings
from stockpot.cluster.manifests.volumes import mounts_of
from stockpot.core.digests import digest_of_json
from stockpot.errors import ExitCode, Refused

ANNOTATIONS_BYTES = 256 * 1024
"""The API server's limit for one object's annotations, names and values together."""
USER = 65532
SPEC_FOLDER = "/etc/stockpot/run"
SIGNING_FOLDER = "/etc/stockpot/signing"
PREVIOUS_KEY = "previous-key.pem"
"""The entry with the key that signed before, while it hands over: `unlearning.keys` reads it."""
WORK, TMP = "/work", "/tmp"  # noqa: S108
PROGRESS_PORT = 8082


def template_of(
    spec: RunSpec, settings: OperatorSettings, *, metrics_port: int, pod: Json, container: Json
) -> Json:
    """Build the pod template of a run.

    Args:
        spec: The RunSpec.
        settings: The operator's settings.
        metrics_port: The port that Prometheus scrapes.
        pod: Additional fields of the pod's spec.
        container: Additional fields of the container; `ports` and `env` are added to the common
            ones.

    Raises:
        Refused: The RunSpec is too long for an annotation, or names an unknown store.
    """
    volumes, mounts = mounts_of(spec.locations)
    annotations = {
        RUN_SPEC: spec.model_dump_json(by_alias=True),
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(metrics_port),
        "prometheus.io/path": "/metrics",
    }
    refuse_long(annotations, f"the run {spec.name} of the soup {spec.soup.name}")
    admin = settings.pods
    common: Json = {
        "name": spec.verb,
        "image": _image(spec, settings),
        "imagePullPolicy": settings.images.pull_policy,
        "command": ["python", "-m", "stockpot.workload", f"{SPEC_FOLDER}/spec.json"],
        "args": [
            *("--work", WORK),
            *("--result", "/dev/termination-log"),
            *("--progress", f"0.0.0.0:{PROGRESS_PORT}"),
        ],
        "env": [{"name": "HOME", "value": TMP}, *admin.env],
        **_credentials_env(credentials_of(spec, settings)),
        "resources": admin.resources.get(spec.verb, {}),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        # If the process ends without a result, the end of its log explains why.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "run", "mountPath": SPEC_FOLDER, "readOnly": True},
            {"name": "work", "mountPath": WORK},
            {"name": "tmp", "mountPath": TMP},
            *mounts,
            *_signing_mounts(spec),
            *admin.volume_mounts,
        ],
    }
    ports = [{"name": "progress", "containerPort": PROGRESS_PORT, "protocol": "TCP"}]
    template: Json = {
        "metadata": {"labels": labels_of(spec), "annotations": annotations},
        "spec": {
            **_placement(spec, settings),
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "volumes": [
                _run_volume(),
                {"name": "work", "emptyDir": {}},
                {"name": "tmp", "emptyDir": {}},
                *volumes,
                *_signing_volumes(spec, settings),
                *admin.volumes,
            ],
            "containers": [
                {
                    **common,
                    **container,
                    "ports": [*ports, *container.get("ports", ())],
                    "env": [*common["env"], *container.get("env", ())],
                }
            ],
            **pod,
        },
    }
    annotations[TEMPLATE] = digest_of_json("template/1", template)
    return template


def template_digest(template: Json) -> str:
    """Return the digest that a template had when it was asked for; empty from an older release."""
    return str(template.get("metadata", {}).get("annotations", {}).get(TEMPLATE, ""))


def refuse_long(annotations: dict[str, str], what: str) -> None:
    """Refuse annotations that the API server would reject.

    Raises:
        Refused: They are longer than 256 KiB.
    """
    size = sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
    if size > ANNOTATIONS_BYTES:
        raise Refused(
            f"{what} has too many shards to be told of: {size / 1024:.0f} KiB, "
            f"and Kubernetes takes {ANNOTATIONS_BYTES // 1024} KiB",
            help="spread the shards over several soups; about 1,000 fit into one",
            exit_code=ExitCode.INVALID,
        )


def credentials_of(spec: RunSpec, settings: OperatorSettings) -> str:
    """Name the Secret with which a run uses its store: only purge and sign may delete.

    Empty where the identity comes with the pod's ServiceAccount.

    Raises:
        Refused: The settings declare no such store.
    """
    credentials = next(
        (
            store.credentials
            for store in settings.stores.values()
            if StoreRef(url=store.url, endpoint=store.endpoint) == spec.store
        ),
        None,
    )
    if credentials is None:
        raise Refused(
            f"no store at {spec.store.url} is declared",
            help=f"declare it among the chart's stores: {', '.join(settings.stores)} are",
        )
    if spec.deletes:
        return credentials.unlearn
    return credentials.namespaces.get(spec.soup.namespace, credentials.workload)


def _credentials_env(secret: str) -> Json:
    return {"envFrom": [{"secretRef": {"name": secret}}]} if secret else {}


def signing_key_path(settings: OperatorSettings) -> str:
    """Say where a sign run finds its key."""
    return f"{SIGNING_FOLDER}/{settings.signing_key.key}"


def _image(spec: RunSpec, settings: OperatorSettings) -> str:
    return settings.images.unlearn if spec.deletes else settings.images.workload


def _placement(spec: RunSpec, settings: OperatorSettings) -> Json:
    admin, accounts = settings.pods, settings.service_accounts
    chosen: Json = {
        "serviceAccountName": accounts.unlearn if spec.deletes else accounts.workload,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "imagePullSecrets": [{"name": name} for name in settings.images.pull_secrets],
        "nodeSelector": admin.node_selector,
        "tolerations": list(admin.tolerations),
        "runtimeClassName": admin.runtime_class_name,
    }
    # Empty values are left out: an applied empty list differs from an absent one.
    return {key: value for key, value in chosen.items() if value not in ("", [], {})}


def _run_volume() -> Json:
    field_ref = {"fieldPath": f"metadata.annotations['{RUN_SPEC}']"}
    return {"name": "run", "downwardAPI": {"items": [{"path": "spec.json", "fieldRef": field_ref}]}}


def _signing_volumes(spec: RunSpec, settings: OperatorSettings) -> list[Json]:
    if not spec.signs:
        return []
    key = settings.signing_key
    sources = [
        {"secret": {"name": key.secret, "items": [{"key": name, "path": name}], **optional}}
        for name, optional in ((key.key, {}), (PREVIOUS_KEY, {"optional": True}))
    ]
    # Its group may read it, nobody else: the process is not the file's owner.
    return [{"name": "signing", "projected": {"defaultMode": 0o440, "sources": sources}}]


def _signing_mounts(spec: RunSpec) -> list[Json]:
    if not spec.signs:
        return []
    return [{"name": "signing", "mountPath": SIGNING_FOLDER, "readOnly": True}]
