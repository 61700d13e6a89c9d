"""What each fault does while somebody stands at the gate, and how the rest is put right after it.

Nothing that a fault killed is brought back by hand but the API server, which nobody else would
start: the product itself has to find its way.
"""

import signal
from collections.abc import Callable

from devcluster import objects
from tests.chaos.cluster.house import OPERATOR, STORE, STORE_NAMESPACE, AtGate, House, wait_s
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


def strike(fault: Fault, house: House, soup: str, at: AtGate, go_on: GoOn) -> After:
    """Do it, and open the gate: `go_on` does, and arms the next one where there is one."""
    match fault:
        case Fault.KILL_LEADER:
            return _kill_leader(house, go_on)
        case Fault.FREEZE_LEADER | Fault.WAKE_LATE:
            return _freeze_leader(house, at, go_on)
        case Fault.CUT_LEADER:
            return _cut_leader(house, at, go_on)
        case Fault.FILL_STORE:
            with house.full_disk():
                _refuses_to_keep(house)
                go_on()
                wait_s(FULL_S)
            # Whoever makes room starts it again: its index takes nothing after it once could not.
            house.replace(STORE_NAMESPACE, house.pod_of(STORE_NAMESPACE, STORE)["metadata"]["name"])
            return nothing
        case Fault.KILL_API_SERVER:
            house.kill_api_server()
            go_on()
            wait_s(AWAY_S)
            house.bring_back()
            return nothing
        case fault if fault in TROUBLES:
            house.between.begin(TROUBLES[fault])
            go_on()
            wait_s(TROUBLED_S)
            house.between.calm()
            return nothing
        case Fault.FREEZE_MERGE | Fault.FREEZE_TRAINER:
            return _freeze_worker(house, at, go_on)
    _kill_in_pod(fault, house, soup, at)
    go_on()
    return nothing


def _kill_in_pod(fault: Fault, house: House, soup: str, at: AtGate) -> None:
    match fault:
        case Fault.KILL_SERVER:
            _kill_one_of(house, NAMESPACE, SERVER.format(soup))
        case Fault.KILL_STORE:
            house.replace(STORE_NAMESPACE, _kill_one_of(house, STORE_NAMESPACE, STORE, "weed"))
        case _:
            assert house.send(at.uid, signal.SIGKILL), "nobody was killed"


def _kill_one_of(house: House, namespace: str, selector: str, program: str = "python") -> str:
    """Kill what runs in one of these pods, as soon as something does; give its name."""

    def killed() -> str:
        about = house.pod_of(namespace, selector)["metadata"]
        return about["name"] if house.send(about["uid"], signal.SIGKILL, program) else ""

    name: str = house.until(killed, f"something runs in {selector}")
    return name


def _refuses_to_keep(house: House) -> None:
    """Make sure that the store keeps nothing now.

    Raises:
        AssertionError: It has kept something.
    """
    with house.store() as endpoint:
        store = S3Store(endpoint, objects.BUCKET, waits_s=())
        try:
            store.put(PROBE, bytes(PROBE_BYTES))
        except StockpotError:
            return
    raise AssertionError("the store's disk is full, and it keeps what it is told to")


def _kill_leader(house: House, go_on: GoOn) -> After:
    leader, pod, uid = house.until(lambda: _leading(house), "somebody leads")
    assert house.send(uid, signal.SIGKILL), "nobody was killed"
    go_on()
    house.replace(SYSTEM, pod)
    _await_another(house, leader)
    return nothing


def _leading(house: House) -> tuple[str, str, str] | None:
    """Give who leads, its pod and that pod's UID; none where the one that led is gone."""
    leader = house.leader()
    pod = leader.rpartition("_")[0]
    uids = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in house.pods(SYSTEM, OPERATOR)}
    return (leader, pod, uids[pod]) if pod in uids else None


def _freeze_leader(house: House, at: AtGate, go_on: GoOn) -> After:
    leader = house.leader()
    assert leader.startswith(at.pod), f"{at.pod} stands at the gate, {leader} leads"
    frozen = house.processes(at.uid)
    assert house.send(at.uid, signal.SIGSTOP), "nobody was frozen"
    go_on()
    _await_another(house, leader)

    def thaw() -> None:
        # Whatever it was about to do it does now, before it learns that it leads no longer.
        still = [pid for pid in frozen if pid in house.processes(at.uid)]
        house.send(at.uid, signal.SIGCONT)
        wait_s(AWAY_S)
        house.replace(SYSTEM, at.pod)
        assert still, "the kubelet had ended it before it could wake up"

    return thaw


def _cut_leader(house: House, at: AtGate, go_on: GoOn) -> After:
    leader = house.leader()
    pods = {pod["metadata"]["name"]: pod for pod in house.pods(SYSTEM, OPERATOR)}
    house.cut(pods[at.pod]["status"]["podIP"])
    try:
        go_on()
        _await_another(house, leader)
    finally:
        house.mend()
    return lambda: house.replace(SYSTEM, at.pod)


def _freeze_worker(house: House, at: AtGate, go_on: GoOn) -> After:
    assert house.send(at.uid, signal.SIGSTOP), "nobody was frozen"
    go_on()
    return lambda: assert_woken(house, at)


def assert_woken(house: House, at: AtGate) -> None:
    """Wake a frozen worker; it must have been there still."""
    assert house.send(at.uid, signal.SIGCONT), "it had ended before it could wake up"


def _await_another(house: House, leader: str) -> None:
    house.until(lambda: house.leader() not in {"", leader}, "another process leads")
