"""The settings files of the node's programs: pure functions of where things are."""

import json
from pathlib import Path

from devcluster.cgroup_namespaces import ADDRESS
from devcluster.commands import DNS_ADDRESS
from devcluster.images import PAUSE

NODE = "stockpot-node"
PODS = "10.244.0.0/24"
SOCKET = "/run/containerd/containerd.sock"
DNS_PORT = 53


def kubelet(keys: Path, resolv_conf: Path, cgroup: str) -> str:
    """Give the kubelet's: real authentication, all containers below one cgroup, no garbage."""
    return json.dumps(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(keys / "ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(keys / "server.crt"),
            "tlsPrivateKeyFile": str(keys / "server.key"),
            "readOnlyPort": 0,
            "containerRuntimeEndpoint": f"unix://{SOCKET}",
            "clusterDNS": [DNS_ADDRESS],
            "clusterDomain": "cluster.local",
            # Pods ask the cluster alone: there is no way out of its network.
            "resolvConf": str(resolv_conf),
            "cgroupDriver": "cgroupfs",
            "cgroupsPerQOS": True,
            "cgroupRoot": f"/{cgroup}",
            "enforceNodeAllocatable": [],
            "failCgroupV1": False,
            "failSwapOn": False,
            "oomScoreAdj": 0,
            "makeIPTablesUtilChains": False,
            "volumePluginDir": "/var/lib/kubelet/volume-plugins",
            # Other people's files on the same disk are no reason to evict.
            "evictionHard": {
                "memory.available": "50Mi",
                "nodefs.available": "1%",
                "nodefs.inodesFree": "1%",
                "imagefs.available": "1%",
            },
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
        },
        indent=1,
    )


def proxy(kubeconfig: Path) -> str:
    """Give kube-proxy's: nftables, and no wish to change the machine's connection tracking."""
    return json.dumps(
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clientConnection": {"kubeconfig": str(kubeconfig)},
            "clusterCIDR": PODS,
            "hostnameOverride": NODE,
            "bindAddress": ADDRESS,
            "conntrack": {
                "maxPerCore": 0,
                "min": 0,
                "tcpEstablishedTimeout": "0s",
                "tcpCloseWaitTimeout": "0s",
            },
            "nftables": {"minSyncPeriod": "100ms"},
        },
        indent=1,
    )


def corefile(kubeconfig: Path) -> str:
    """Give CoreDNS's: the cluster's own names, and nothing else."""
    return (
        f".:{DNS_PORT} {{\n"
        "    errors\n"
        "    health 127.0.0.1:8081\n"
        "    ready 127.0.0.1:8181\n"
        "    kubernetes cluster.local in-addr.arpa {\n"
        f"        kubeconfig {kubeconfig}\n"
        "        ttl 5\n"
        "    }\n"
        "    cache 5\n"
        "}\n"
    )


def containerd(runtime: Path, network: Path) -> str:
    """Give containerd's, in TOML: our runc, our network plugins, our pause image."""
    images, cri = "plugins.'io.containerd.cri.v1.images'", "plugins.'io.containerd.cri.v1.runtime'"
    return f"""
version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.erofs", "io.containerd.nri.v1.nri",
]

[grpc]
address = "{SOCKET}"

[plugins.'io.containerd.internal.v1.opt']
path = "/var/lib/containerd/opt"

[{images}]
snapshotter = "overlayfs"

[{images}.pinned_images]
sandbox = "{PAUSE}"

[{cri}]
restrict_oom_score_adj = true
disable_apparmor = true

[{cri}.containerd]
default_runtime_name = "runc"

[{cri}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[{cri}.containerd.runtimes.runc.options]
BinaryName = "{runtime / "runc"}"
SystemdCgroup = false

[{cri}.cni]
bin_dirs = ["{runtime}"]
conf_dir = "{network}"
"""


def pod_network() -> str:
    """Give the network plugins': each pod on a wire of its own, all through the node's routes."""
    # Not a bridge: between two pods on one, an answer would miss the Service's translation
    # wherever the kernel has no br_netfilter.
    ranges = {"type": "host-local", "ranges": [[{"subnet": PODS}]], "dataDir": "/run/cni-addresses"}
    plugin = {"type": "ptp", "ipam": ranges | {"routes": [{"dst": "0.0.0.0/0"}]}}
    return json.dumps({"cniVersion": "1.0.0", "name": "stockpot", "plugins": [plugin]}, indent=1)
