"""Takes a cluster away: its pods first, etcd last, then its namespaces, cgroups and state.

Asks nobody in the cluster, so it works as well on one that was killed, or never came up.
"""

import shutil

from devcluster import cgroup_namespaces, kubectl, preflight
from devcluster.locks import only_one
from devcluster.places import Places
from devcluster.progress_log import say

# The kubelet before the pods, or it would start them again; the API server before etcd, without
# which it does not end when it is asked to.
FIRST = ("kubelet", "pods", "kube-controller-manager", "kube-scheduler", "kube-proxy", "coredns")
LAST = ("containerd", "kube-apiserver", "etcd")
PATIENCE_S = 3.0


def down(places: Places) -> None:
    """Leave nothing of the cluster.

    Raises:
        Problem: A process cannot be ended.
    """
    preflight.may_end()
    with only_one(places.lock, f"command for the cluster {places.name}", last=True):
        whole = cgroup_namespaces.group(places)
        was_there = whole.alive() or places.state.exists() or places.network_file.exists()
        for program in FIRST:
            cgroup_namespaces.group(places, program).end()
        for program in LAST:
            cgroup_namespaces.group(places, program).end(patience_s=PATIENCE_S)
        whole.end()
        whole.remove()
        cgroup_namespaces.remove_network(places)
        kubectl.remove_links(places)
        # What was mounted in it was mounted for the ended processes alone.
        if places.state.exists():
            shutil.rmtree(places.state)
        say(f"the cluster {places.name} {'is gone' if was_there else 'was not there'}")
