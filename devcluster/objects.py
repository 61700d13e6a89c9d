"""What the cluster has in it from the start: names for pods, our namespaces, the store."""

import base64
import json
from pathlib import Path
from typing import Any

from devcluster import store_access
from devcluster.cgroup_namespaces import ADDRESS
from devcluster.commands import DNS_ADDRESS
from devcluster.images import BASE, SEAWEEDFS
from devcluster.settings import DNS_PORT, NODE

Object = dict[str, Any]

SYSTEM, STUDIO, STORE = "stockpot-system", "studio", "stockpot-store"
PROOF = "proof"
"""The namespace in which the demo shows that a soup forgot; the demo makes it."""
NAMESPACES = (SYSTEM, STUDIO, STORE)

BUCKET = "stockpot"
S3_PORT = 8333
INNER_PORT = 8334
"""The store's S3 server, on the loopback of its pod."""
RELAY = Path(__file__).with_name("relay.py")
ENDPOINT = f"http://seaweedfs.{STORE}.svc:{S3_PORT}"
"""The store, as pods name it."""
# Credentials of a store that nobody outside this machine reaches, and that `down` throws away.
WORKLOADS = {
    STUDIO: ("stockpot-studio", "studio-of-the-demo"),
    PROOF: ("stockpot-proof", "proof-of-the-demo"),
}
"""The identity of each workload namespace, which reaches no other's artefacts."""
UNLEARN = ("stockpot-unlearn", "unlearn-of-the-demo")
UID = 65532
TMP = "/tmp"  # noqa: S108 - the container's own, on a volume


def namespaces() -> list[Object]:
    """Give our namespaces, each under the strictest Pod Security level."""
    level = {"pod-security.kubernetes.io/enforce": "restricted"}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": level}}
        for name in NAMESPACES
    ]


def names() -> list[Object]:
    """Give what CoreDNS, which runs beside the kubelet, needs: to read, and to be found."""
    who = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "stockpot:dns"}
    rules = [
        {"apiGroups": [""], "resources": ["namespaces", "services"], "verbs": ["list", "watch"]},
        {
            "apiGroups": ["discovery.k8s.io"],
            "resources": ["endpointslices"],
            "verbs": ["list", "watch"],
        },
    ]
    ports = [
        {"name": "dns", "protocol": "UDP", "port": DNS_PORT},
        {"name": "dns-tcp", "protocol": "TCP", "port": DNS_PORT},
    ]
    place = {"name": "kube-dns", "namespace": "kube-system"}
    return [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "stockpot:dns"},
            "rules": rules,
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "stockpot:dns"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "stockpot:dns",
            },
            "subjects": [who],
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": place,
            "spec": {"clusterIP": DNS_ADDRESS, "ports": ports},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": place | {"labels": {"kubernetes.io/service-name": "kube-dns"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [ADDRESS]}],
            "ports": ports,
        },
    ]


def volume(namespace: str, claim: str, path: str, *, writable: bool = False) -> list[Object]:
    """Give a folder of the node as a volume, and the claim that it is bound to.

    Args:
        namespace: The claim's.
        claim: Its name.
        path: The folder, as the node sees it.
        writable: For one pod that writes; else for any that read.
    """
    modes = ["ReadWriteOnce"] if writable else ["ReadOnlyMany"]
    size = {"storage": "100Gi"}
    term = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}
    name = f"{namespace}-{claim}"
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name},
            "spec": {
                "accessModes": modes,
                "capacity": size,
                "claimRef": {"namespace": namespace, "name": claim},
                "local": {"path": path},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [term]}]}},
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": "",
            },
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": claim, "namespace": namespace},
            "spec": {
                "accessModes": modes,
                "resources": {"requests": size},
                "storageClassName": "",
                "volumeName": name,
            },
        },
    ]


def identities() -> str:
    """Give SeaweedFS's file of who may do what: what docs/reference/store-access.md says."""
    allowed = store_access.policies(BUCKET, namespaces=WORKLOADS)
    holders = {"unlearn": UNLEARN} | {
        f"workload-{namespace}": keys for namespace, keys in WORKLOADS.items()
    }

    def identity(who: tuple[str, str], policy: str) -> Object:
        access, secret = who
        credentials = [{"accessKey": access, "secretKey": secret}]
        return {"name": access, "credentials": credentials, "policyNames": [policy]}

    return json.dumps(
        {
            "identities": [identity(who, policy) for policy, who in holders.items()],
            "policies": [{"name": name, "content": allowed[name]} for name in holders],
        }
    )


def store() -> list[Object]:
    """Give SeaweedFS: one pod, a claim for its files, a Service.

    Its filer, master and volume server ask nobody who he is: with them, any pod reads and writes
    every object. So all of it listens on the pod's loopback, and a relay lets others reach S3.
    """
    place = {"namespace": STORE}
    labels = {"app.kubernetes.io/name": "seaweedfs"}
    command = [
        *("mini", "-dir=/data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-bucket={BUCKET}"),
        *(f"-s3.port={INNER_PORT}", "-s3.config=/etc/seaweedfs/s3.json"),
        "-s3.autoCreateBucket=false",
        *("-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false", "-admin.ui=false"),
        "-master.telemetry=false",
    ]
    restricted = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    relay = {
        "name": "relay",
        "image": BASE,
        "imagePullPolicy": "Never",
        "command": ["python3", "-c", RELAY.read_text(), str(S3_PORT), str(INNER_PORT)],
        "ports": [{"name": "s3", "containerPort": S3_PORT}],
        # Through the relay, and answered by SeaweedFS.
        "readinessProbe": {
            "httpGet": {"path": "/healthz", "port": S3_PORT},
            "periodSeconds": 1,
            "failureThreshold": 120,
        },
        "resources": {"requests": {"cpu": "50m", "memory": "32Mi"}},
        "securityContext": restricted,
    }
    seaweedfs = {
        "name": "seaweedfs",
        "image": SEAWEEDFS,
        "imagePullPolicy": "Never",
        "args": command,
        "workingDir": TMP,
        "env": [{"name": "HOME", "value": TMP}],
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}},
        "securityContext": restricted,
        "volumeMounts": [
            {"name": "data", "mountPath": "/data"},
            {"name": "tmp", "mountPath": TMP},
            {"name": "identities", "mountPath": "/etc/seaweedfs", "readOnly": True},
        ],
    }
    pod = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 5,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": UID,
            "runAsGroup": UID,
            "fsGroup": UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [seaweedfs, relay],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": "seaweedfs"}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "identities", "secret": {"secretName": "seaweedfs"}},
        ],
    }
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": place | {"name": "seaweedfs"},
            "data": {"s3.json": base64.b64encode(identities().encode()).decode()},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": place | {"name": "seaweedfs", "labels": labels},
            "spec": {
                "replicas": 1,
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": place | {"name": "seaweedfs", "labels": labels},
            "spec": {
                "selector": labels,
                "ports": [{"name": "s3", "port": S3_PORT, "targetPort": "s3"}],
            },
        },
    ]


def as_list(objects: list[Object]) -> str:
    """Write objects as one document for kubectl."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
