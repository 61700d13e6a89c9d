"""Brings a whole cluster up: a node, its control plane, names, our namespaces, the store.

Every step looks first whether its work is done, so that `up` finishes what an earlier one began,
starts again what has died since, and does nothing at all where nothing is missing.
"""

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from devcluster import (
    build,
    cgroup_namespaces,
    code,
    commands,
    containers,
    debian,
    forwarding,
    images,
    keys,
    kubectl,
    objects,
    preflight,
    settings,
    volumes,
)
from devcluster.api import Api, wait_until
from devcluster.locks import only_one
from devcluster.places import REPOSITORY, Places, write
from devcluster.problem import Problem
from devcluster.progress_log import say, step

ETCD, PORT = "http://127.0.0.1:2379", 6443
READY_WITHIN_S = 180.0
PROGRAMS = (
    *("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"),
    *("containerd", "kubelet", "kube-proxy", "network-policies", "coredns"),
    f"forward-{forwarding.API}",
)
CODE_CLAIM, DATA_CLAIM = "stockpot-code", "emoji"


def up(places: Places) -> None:
    """Bring the cluster up.

    Raises:
        Problem: It cannot run here, or something does not start.
    """
    preflight.may_run(places)
    debian.provide(*debian.TO_RUN)
    with only_one(places.lock, f"command for the cluster {places.name}"):
        if is_up(places):
            code.refresh(places)
            say(f"the cluster {places.name} is up")
            return
        if not all(part.bin.is_dir() for part in (build.control_plane(), build.runtime())):
            debian.provide(*debian.TO_BUILD)
        debian.provide(*debian.TO_MAKE_IMAGES)
        build.build(build.control_plane(), build.runtime())
        made = images.make_all(images.find_weed())
        begun_s = time.monotonic()
        places.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        cgroup_namespaces.make_network(places)
        with (
            step("starting the control plane, and unpacking the images", eta_s=12),
            ThreadPoolExecutor(1) as beside,
        ):
            unpacked = beside.submit(containers.start, places, made)
            start_control_plane(places)
            unpacked.result()
        with step("starting the node", eta_s=10):
            start_node(places)
        with step("starting the store", eta_s=10):
            await_store(places)
        forwarding.restart(places)
        kubectl.write_links(places)
        say(f"the cluster {places.name} is up after {time.monotonic() - begun_s:.0f} s")


def is_up(places: Places) -> bool:
    """Whether everything runs and nothing is left to do."""
    return (
        _api_port(places) is not None
        and all(cgroup_namespaces.runs(places, program) for program in PROGRAMS)
        and _node_is_ready(api(places))
        and _store_is_ready(api(places))
    )


def api(places: Places) -> Api:
    """Give the way from this machine to the API server.

    Raises:
        Problem: There is none yet.
    """
    port = _api_port(places)
    if port is None:
        raise Problem(f"the cluster {places.name} does not run", help="start it: make cluster")
    return Api(
        f"https://127.0.0.1:{port}", keys.token(places.keys, "admin"), places.keys / "ca.crt"
    )


def _api_port(places: Places) -> int | None:
    return forwarding.known(places).get(forwarding.API, (None, None))[1]


def start_control_plane(places: Places) -> None:
    """Have the keys, etcd, the API server, the controllers and the scheduler."""
    programs = build.built(build.control_plane())
    service, inner = "10.96.0.1", f"https://{cgroup_namespaces.ADDRESS}:{PORT}"
    own = ["127.0.0.1", "localhost", cgroup_namespaces.ADDRESS, service, settings.NODE]
    named = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"]
    keys.make(places.keys, programs=programs, names=[*own, *named], node=settings.NODE)
    for program in ("controller-manager", "scheduler", "proxy", "dns", "kubelet"):
        _kubeconfig(places, places.state / f"{program}.kubeconfig", inner, program)
    _kubeconfig(places, places.inner_kubeconfig, inner, "admin")
    network = cgroup_namespaces.network(places)
    etcd = commands.etcd(
        programs, data=places.state / "etcd", client=ETCD, peer="http://127.0.0.1:2380"
    )
    cgroup_namespaces.launch(places, "etcd", etcd, namespaces=network)
    server = commands.apiserver(
        programs,
        keys=places.keys,
        etcd=ETCD,
        address=cgroup_namespaces.ADDRESS,
        port=PORT,
        loopback=False,
    )
    cgroup_namespaces.launch(places, "kube-apiserver", server, namespaces=network)
    forwarding.restart(places)
    if _api_port(places) is None:
        forwarding.forward(places, f"{cgroup_namespaces.ADDRESS}:{PORT}", 0, name=forwarding.API)
    outer = f"https://127.0.0.1:{_api_port(places)}"
    _kubeconfig(places, places.kubeconfig, outer, "admin")
    alive = cgroup_namespaces.alive(places, "etcd", "kube-apiserver")
    wait_until(api(places).ready, "the API server is ready", within_s=READY_WITHIN_S, alive=alive)
    manager = commands.controller_manager(
        programs, keys=places.keys, kubeconfig=places.state / "controller-manager.kubeconfig"
    )
    cgroup_namespaces.launch(places, "kube-controller-manager", manager, namespaces=network)
    scheduler = commands.scheduler(programs, kubeconfig=places.state / "scheduler.kubeconfig")
    cgroup_namespaces.launch(places, "kube-scheduler", scheduler, namespaces=network)


def start_node(places: Places) -> None:
    """Have the kubelet, the Services' proxy, the walls and the names, and wait for the node."""
    programs = build.built(build.control_plane())
    resolv_conf = places.state / "resolv.conf"
    write(resolv_conf, "")
    pods = cgroup_namespaces.group(places, "pods")
    pods.make()
    write(places.state / "kubelet.json", settings.kubelet(places.keys, resolv_conf, pods.path))
    write(places.state / "proxy.json", settings.proxy(places.state / "proxy.kubeconfig"))
    write(places.state / "Corefile", settings.corefile(places.state / "dns.kubeconfig"))
    start_kubelet(places)
    volumes.mount_all(places)
    path = {"PATH": debian.SEARCHED}
    network = cgroup_namespaces.network(places)
    proxy: list[str | Path] = [programs / "kube-proxy", f"--config={places.state / 'proxy.json'}"]
    cgroup_namespaces.launch(places, "kube-proxy", proxy, namespaces=network, environment=path)
    agent: list[str | Path] = [sys.executable, "-m", "devcluster.policy_agent", places.keys]
    ours = path | {"PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
    cgroup_namespaces.launch(
        places, "network-policies", agent, namespaces=network, environment=ours
    )
    dns: list[str | Path] = [programs / "coredns", "-conf", places.state / "Corefile"]
    cgroup_namespaces.launch(places, "coredns", dns, namespaces=network)
    kubectl.apply(places, what_is_there_from_the_start(places))
    wait_until(
        lambda: _node_is_ready(api(places)),
        "the node is ready",
        within_s=READY_WITHIN_S,
        alive=cgroup_namespaces.alive(places, "kubelet", "containerd"),
    )


def start_kubelet(places: Places) -> None:
    """Have the kubelet. Tests end it, and start it again."""
    programs = build.built(build.control_plane())
    options = [
        f"--config={places.state / 'kubelet.json'}",
        f"--kubeconfig={places.state / 'kubelet.kubeconfig'}",
        *(f"--hostname-override={settings.NODE}", f"--node-ip={cgroup_namespaces.ADDRESS}"),
        *("--root-dir=/var/lib/kubelet", "--v=0"),
    ]
    cgroup_namespaces.launch(
        places,
        "kubelet",
        [programs / "kubelet", *options],
        namespaces=cgroup_namespaces.both(places),
        environment={"PATH": debian.SEARCHED},
    )


def what_is_there_from_the_start(places: Places) -> list[objects.Object]:
    """Give our namespaces, names, the store and what pods mount; with the folders behind them."""
    data = places.state / "seaweedfs"
    data.mkdir(exist_ok=True)
    os.chown(data, objects.UID, objects.UID)
    data.chmod(0o770)
    leftovers = [*objects.namespaces(), *objects.names()]
    leftovers += objects.volume(objects.STORE, "seaweedfs", str(data), writable=True)
    for namespace in objects.NAMESPACES:
        leftovers += volumes.show(places, namespace, CODE_CLAIM, places.code)
    leftovers += volumes.show(places, objects.STUDIO, DATA_CLAIM, REPOSITORY / "examples" / "emoji")
    return leftovers + objects.store()


def await_store(places: Places) -> None:
    """Wait until SeaweedFS answers."""
    wait_until(
        lambda: _store_is_ready(api(places)),
        "the store answers",
        within_s=READY_WITHIN_S,
        alive=cgroup_namespaces.alive(places, "kubelet", "containerd"),
    )


def _node_is_ready(server: Api) -> bool:
    node = server.get(f"/api/v1/nodes/{settings.NODE}")
    conditions = node["status"].get("conditions", []) if node else []
    return any(
        condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions
    )


def _store_is_ready(server: Api) -> bool:
    """Ask the store itself: what the API server knows of a pod may be from before a crash."""
    service = f"/api/v1/namespaces/{objects.STORE}/services/seaweedfs:s3"
    try:
        return server.request("GET", f"{service}/proxy/healthz")[0] == 200
    except OSError:
        return False


def _kubeconfig(places: Places, path: Path, url: str, program: str) -> None:
    token = keys.token(places.keys, program)
    write(path, commands.kubeconfig(url=url, token=token, ca=places.keys / "ca.crt"))
