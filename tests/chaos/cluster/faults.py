"""What each fault does while somebody stands at the gate, and how the rest is put right after it.

Nothing that a fault killed is brought back by hand but the API server, which nobody else would
start: the product itself has to find its way.
"""

import signal
from collections.abc import Callable

from devcluster import objects
from tests.chaos.cluster.chaos_cluster import (
    OPERATOR,
    STORE,
    STORE_NAMESPACE,
    AtGate,
    ChaosCluster,
    wait_s,
)
from tests.chaos.cluster.points import TROUBLES, Fault
from tests.e2e.studio import NAMESPACE, SYSTEM

from stockpot.errors import StockpotError
from stockpot.store.s3 import S3Store

AWAY_S = 3.0
"""How long the API server and the store are away at least."""
FULL_S = 30.0
"""How long the store's disk is full: longer than anybody asks it again."""
PROBE, PROBE_BYTES = "probe/full", 1 << 20
TROUBLED_S = 10.0
"""How long the way to the API server is troubled."""
SERVER = "app.kubernetes.io/component=serve,stockpot.dev/soup={}"

GoOn = Callable[[], None]
After = Callable[[], None]
"""What is still to be done once the deletion has come to its receipt."""


def nothing() -> None:
    """All is as it was."""


def strike(fault: Fault, chaos_cluster: ChaosCluster, soup: str, at: AtGate, go_on: GoOn) -> After:
    """Do it, and open the gate: `go_on` does, and arms the next one where there is one."""
    match fault:
        case Fault.KILL_LEADER:
            return _kill_leader(chaos_cluster, go_on)
        case Fault.FREEZE_LEADER | Fault.WAKE_LATE:
            return _freeze_leader(chaos_cluster, at, go_on)
        case Fault.CUT_LEADER:
            return _cut_leader(chaos_cluster, at, go_on)
        case Fault.FILL_STORE:
            with chaos_cluster.full_disk():
                _refuses_to_keep(chaos_cluster)
                go_on()
                wait_s(FULL_S)
            # Whoever makes room starts it again: its index takes nothing after it once could not.
            chaos_cluster.replace(
                STORE_NAMESPACE, chaos_cluster.pod_of(STORE_NAMESPACE, STORE)["metadata"]["name"]
            )
            return nothing
        case Fault.KILL_API_SERVER:
            chaos_cluster.kill_api_server()
            go_on()
            wait_s(AWAY_S)
            chaos_cluster.bring_back()
            return nothing
        case fault if fault in TROUBLES:
            chaos_cluster.between.begin(TROUBLES[fault])
            go_on()
            wait_s(TROUBLED_S)
            chaos_cluster.between.calm()
            return nothing
        case Fault.FREEZE_MERGE | Fault.FREEZE_TRAINER:
            return _freeze_worker(chaos_cluster, at, go_on)
    _kill_in_pod(fault, chaos_cluster, soup, at)
    go_on()
    return nothing


def _kill_in_pod(fault: Fault, chaos_cluster: ChaosCluster, soup: str, at: AtGate) -> None:
    match fault:
        case Fault.KILL_SERVER:
            _kill_one_of(chaos_cluster, NAMESPACE, SERVER.format(soup))
        case Fault.KILL_STORE:
            chaos_cluster.replace(
                STORE_NAMESPACE, _kill_one_of(chaos_cluster, STORE_NAMESPACE, STORE, "weed")
            )
        case _:
            assert chaos_cluster.send(at.uid, signal.SIGKILL), "nobody was killed"


def _kill_one_of(
    chaos_cluster: ChaosCluster, namespace: str, selector: str, program: str = "python"
) -> str:
    """Kill what runs in one of these pods, as soon as something does; give its name."""

    def killed() -> str:
        about = chaos_cluster.pod_of(namespace, selector)["metadata"]
        return about["name"] if chaos_cluster.send(about["uid"], signal.SIGKILL, program) else ""

    name: str = chaos_cluster.until(killed, f"something runs in {selector}")
    return name


def _refuses_to_keep(chaos_cluster: ChaosCluster) -> None:
    """Make sure that the store keeps nothing now.

    Raises:
        AssertionError: It has kept something.
    """
    with chaos_cluster.store() as endpoint:
        store = S3Store(endpoint, objects.BUCKET, waits_s=())
        try:
            store.put(PROBE, bytes(PROBE_BYTES))
        except StockpotError:
            return
    raise AssertionError("the store's disk is full, and it keeps what it is told to")


def _kill_leader(chaos_cluster: ChaosCluster, go_on: GoOn) -> After:
    leader, pod, uid = chaos_cluster.until(lambda: _leading(chaos_cluster), "somebody leads")
    assert chaos_cluster.send(uid, signal.SIGKILL), "nobody was killed"
    go_on()
    chaos_cluster.replace(SYSTEM, pod)
    _await_another(chaos_cluster, leader)
    return nothing


def _leading(chaos_cluster: ChaosCluster) -> tuple[str, str, str] | None:
    """Give who leads, its pod and that pod's UID; none where the one that led is gone."""
    leader = chaos_cluster.leader()
    pod = leader.rpartition("_")[0]
    uids = {
        pod["metadata"]["name"]: pod["metadata"]["uid"]
        for pod in chaos_cluster.pods(SYSTEM, OPERATOR)
    }
    return (leader, pod, uids[pod]) if pod in uids else None


def _freeze_leader(chaos_cluster: ChaosCluster, at: AtGate, go_on: GoOn) -> After:
    leader = chaos_cluster.leader()
    assert leader.startswith(at.pod), f"{at.pod} stands at the gate, {leader} leads"
    frozen = chaos_cluster.processes(at.uid)
    assert chaos_cluster.send(at.uid, signal.SIGSTOP), "nobody was frozen"
    go_on()
    _await_another(chaos_cluster, leader)

    def thaw() -> None:
        # Whatever it was about to do it does now, before it learns that it leads no longer.
        still = [pid for pid in frozen if pid in chaos_cluster.processes(at.uid)]
        chaos_cluster.send(at.uid, signal.SIGCONT)
        wait_s(AWAY_S)
        chaos_cluster.replace(SYSTEM, at.pod)
        assert still, "the kubelet had ended it before it could wake up"

    return thaw


def _cut_leader(chaos_cluster: ChaosCluster, at: AtGate, go_on: GoOn) -> After:
    leader = chaos_cluster.leader()
    pods = {pod["metadata"]["name"]: pod for pod in chaos_cluster.pods(SYSTEM, OPERATOR)}
    chaos_cluster.cut(pods[at.pod]["status"]["podIP"])
    try:
        go_on()
        _await_another(chaos_cluster, leader)
    finally:
        chaos_cluster.mend()
    return lambda: chaos_cluster.replace(SYSTEM, at.pod)


def _freeze_worker(chaos_cluster: ChaosCluster, at: AtGate, go_on: GoOn) -> After:
    assert chaos_cluster.send(at.uid, signal.SIGSTOP), "nobody was frozen"
    go_on()
    return lambda: assert_woken(chaos_cluster, at)


def assert_woken(chaos_cluster: ChaosCluster, at: AtGate) -> None:
    """Wake a frozen worker; it must have been there still."""
    assert chaos_cluster.send(at.uid, signal.SIGCONT), "it had ended before it could wake up"


def _await_another(chaos_cluster: ChaosCluster, leader: str) -> None:
    chaos_cluster.until(lambda: chaos_cluster.leader() not in {"", leader}, "another process leads")
