"""The command line of each program of a control plane: pure functions of where things are.

Two clusters are made of them: one on 127.0.0.1 for tests, without root, and the whole node.
"""

import json
from pathlib import Path

SERVICES = "10.96.0.0/16"
DNS_ADDRESS = "10.96.0.10"


def etcd(programs: Path, *, data: Path, client: str, peer: str) -> list[str]:
    """Give etcd's: `client` and `peer` are its two URLs."""
    return [
        *(str(programs / "etcd"), "--name=only", f"--data-dir={data}"),
        *(f"--listen-client-urls={client}", f"--advertise-client-urls={client}"),
        *(f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"),
        f"--initial-cluster=only={peer}",
        # Nothing in a cluster of this kind must outlive the machine.
        *("--unsafe-no-fsync", "--logger=zap", "--log-level=warn"),
    ]


def apiserver(
    programs: Path,
    *,
    keys: Path,
    etcd: str,
    address: str,
    port: int,
    loopback: bool,
    audit: tuple[Path, Path] | None = None,
) -> list[str]:
    """Give the API server's. With `loopback` nobody but this machine reaches it, and no node.

    Args:
        programs: The folder of the programs.
        keys: The folder of certificates and tokens.
        etcd: The URL of etcd.
        address: The address that it listens on, or that nodes reach it under.
        port: Its port.
        loopback: Listen on the address alone.
        audit: An audit policy, and the log that requests are written to.
    """
    return [
        *(str(programs / "kube-apiserver"), f"--etcd-servers={etcd}", f"--secure-port={port}"),
        *(f"--advertise-address={address}", f"--tls-cert-file={keys / 'server.crt'}"),
        *(f"--bind-address={address}" if loopback else "--bind-address=0.0.0.0",),
        # There is no endpoint that a loopback address could be written into.
        *(["--endpoint-reconciler-type=none"] if loopback else []),
        *(f"--tls-private-key-file={keys / 'server.key'}", f"--client-ca-file={keys / 'ca.crt'}"),
        f"--token-auth-file={keys / 'tokens.csv'}",
        "--authorization-mode=Node,RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-signing-key-file={keys / 'service-accounts.key'}",
        f"--service-account-key-file={keys / 'service-accounts.key'}",
        f"--service-cluster-ip-range={SERVICES}",
        f"--kubelet-certificate-authority={keys / 'ca.crt'}",
        f"--kubelet-client-certificate={keys / 'kubelet-client.crt'}",
        f"--kubelet-client-key={keys / 'kubelet-client.key'}",
        *("--kubelet-preferred-address-types=InternalIP", "--allow-privileged=true"),
        *("--enable-admission-plugins=NodeRestriction", "--profiling=false", "--v=0"),
        *([f"--audit-policy-file={audit[0]}", f"--audit-log-path={audit[1]}"] if audit else []),
    ]


def controller_manager(programs: Path, *, keys: Path, kubeconfig: Path) -> list[str]:
    """Give the controller manager's: every controller, nobody to share the lead with."""
    return [
        *(str(programs / "kube-controller-manager"), f"--kubeconfig={kubeconfig}"),
        *("--leader-elect=false", "--use-service-account-credentials", "--secure-port=0"),
        f"--service-account-private-key-file={keys / 'service-accounts.key'}",
        *(f"--root-ca-file={keys / 'ca.crt'}", "--profiling=false", "--v=0"),
        # A node of this kind is gone or it is there: nobody waits five minutes in a test.
        *("--node-monitor-grace-period=20s", "--node-monitor-period=2s"),
    ]


def scheduler(programs: Path, *, kubeconfig: Path) -> list[str]:
    """Give the scheduler's."""
    return [
        *(str(programs / "kube-scheduler"), f"--kubeconfig={kubeconfig}"),
        *("--leader-elect=false", "--secure-port=0", "--profiling=false", "--v=0"),
    ]


def kubeconfig(*, url: str, token: str, ca: Path) -> str:
    """Write a kubeconfig with one cluster and one user. JSON is YAML enough for it."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "stockpot",
            "clusters": [
                {
                    "name": "stockpot",
                    "cluster": {"server": url, "certificate-authority": str(ca)},
                }
            ],
            "users": [{"name": "admin", "user": {"token": token}}],
            "contexts": [{"name": "stockpot", "context": {"cluster": "stockpot", "user": "admin"}}],
        },
        indent=1,
    )
