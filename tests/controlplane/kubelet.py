"""A kubelet that runs no containers, but says of each pod what a real one says.

The real scheduler gives it pods. What a run comes to is worked out from its RunSpec by the
simulator; servers are real HTTP servers with the real state machine of grants, each on
a loopback address of its own. What is to go wrong is said beforehand, as an `Order`.
"""

import json
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import urllib3
from tests.controlplane.admin import NODES, Admin, Happening, Mirror, Refusal
from tests.controlplane.servers import Address, PlayedServer, ProgressServer
from tests.simulate.runs import Runs
from tests.simulate.store import Store

from stockpot.api.results import EvaluateResult, MergeResult, Problem, ResultMessage, RunResult
from stockpot.api.runspec import RUN_SPEC as RUN_SPECS
from stockpot.api.runspec import EvaluateRun, MergeRun, TrainRun
from stockpot.api.serving import POD_UID
from stockpot.authentication.signatures import GrantVerifier, Recipient
from stockpot.cluster.apiserver.labels import RUN_SPEC, SHARD, SOUP_NAMESPACE
from stockpot.cluster.apiserver.objects import (
    Json,
    annotations_on,
    labels_on,
    name_of,
    namespace_of,
    uid_of,
    verb_of,
)
from stockpot.cluster.apiserver.resources import EVENTS, LEASES, PODS
from stockpot.core.runs import Failure
from stockpot.errors import Refused
from stockpot.store.folder import FolderStore
from stockpot.store.keys import Keys
from stockpot.store.namespace_mark import claim_prefix

HEARTBEAT_S = 5.0
PIXELS_PER_LATENT = 8


@dataclass(frozen=True)
class Order:
    """What is to become of a pod, instead of what should."""

    verb: str
    shard: str = ""
    """Only of this one; empty: of any."""
    namespace: str = ""
    """Only of soups in this one; empty: in any."""
    image: str = ""
    """Only of this image; empty: of any."""
    hold: bool = False
    """It runs until it is let go."""
    late: bool = False
    """It does its work at once, and is seen to end only when it is let go: with `hold`."""
    exit_code: int = 0
    problem: str = ""
    """What its RunResult says; empty: it leaves no word."""
    reason: str = ""
    """The reason of the container's end, as `OOMKilled`."""
    removed: str = ""
    """The pod's reason: the kubelet put it off the node, as `Evicted`."""
    waiting: str = ""
    """Its container never starts, and this is why: `ImagePullBackOff`."""
    message: str = ""
    event: str = ""
    """Reason of a Warning beside it, as `FailedMount`."""
    times: int = 1_000_000
    """How many pods it is for."""


@dataclass
class _Played:
    pod: Json
    order: Order | None
    address: str = ""
    began: str = ""
    server: PlayedServer | ProgressServer | None = None
    did: RunResult | Failure | None = None
    """What a run has come to that has not ended yet."""
    ended: bool = False


@dataclass
class Kubelet:
    """One node, and what runs on it."""

    admin: Admin
    mirror: Mirror
    node: str
    marks: FolderStore
    """Which namespace each prefix belongs to, as runs write it."""
    kitchens: dict[str, Runs] = field(default_factory=dict)
    """What runs come to, and the store of each soup, by its UID."""
    orders: list[Order] = field(default_factory=list)
    on_grant: list[Callable[[str], None]] = field(default_factory=list)
    """Told `prepare` or `commit` when a server accepted one."""
    is_lost: bool = False
    """Its machine is off: it says nothing any more."""

    def __post_init__(self) -> None:
        self._played: dict[str, _Played] = {}
        self._work: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._given: dict[int, int] = {}
        self._stopped = threading.Event()

    def start(self) -> None:
        # A node without a heartbeat is soon given up, and one that is not Ready gets no pods.
        self.admin.create(
            NODES,
            None,
            {
                "metadata": {"name": self.node, "labels": {"kubernetes.io/hostname": self.node}},
                "status": {
                    "capacity": {"cpu": "8", "memory": "16Gi", "pods": "500"},
                    "allocatable": {"cpu": "8", "memory": "16Gi", "pods": "500"},
                    "conditions": [self._ready()],
                },
            },
        )
        self._beat()
        threading.Thread(target=self._heart, name=f"heart-{self.node}", daemon=True).start()
        self._thread = threading.Thread(target=self._run, name=self.node, daemon=True)
        self._thread.start()
        self.mirror.listeners.append(self._hear)

    def stop(self) -> None:
        self._stopped.set()
        self.mirror.listeners.remove(self._hear)
        self._work.put(None)
        self._thread.join()
        for played in self._played.values():
            if played.server:
                played.server.stop()
        self.admin.delete(NODES, None, self.node)

    # What tests say.

    def order(self, order: Order) -> None:
        """Say what is to become of pods from now on."""
        self.orders.insert(0, order)

    def forget_orders(self) -> None:
        """Let everything go well from now on; what is held is let go."""
        self.orders.clear()
        self.let_go()

    def forget(self, verb: str) -> None:
        """Let runs of this verb go well from now on; those that are held are let go."""
        self.orders[:] = [order for order in self.orders if order.verb != verb]
        self.let_go(verb)

    def let_go(self, verb: str = "") -> None:
        """Let runs that are held come to their end."""

        def task() -> None:
            for played in list(self._played.values()):
                holds = played.order and played.order.hold and not played.ended
                if holds and verb in {"", verb_of(played.pod)}:
                    played.order = None
                    self._finish(played)

        self._work.put(task)

    def servers(self) -> list[PlayedServer]:
        """Those that run."""
        return [
            played.server
            for played in list(self._played.values())
            if isinstance(played.server, PlayedServer) and not played.ended
        ]

    def kitchen(self, soup_uid: str) -> Runs:
        return self.kitchens.setdefault(soup_uid, Runs(Store()))

    # What a kubelet does.

    def _hear(self, happening: Happening) -> None:
        if happening.resource != PODS or self.is_lost:
            return
        pod = happening.thing
        if pod["spec"].get("nodeName") == self.node:
            self._work.put(lambda: self._see(happening.type, pod))

    def _run(self) -> None:
        while (task := self._work.get()) is not None:
            try:
                if not self.is_lost:
                    task()
            except Refusal as refusal:
                if refusal.status not in {404, 409}:
                    raise
            except (OSError, urllib3.exceptions.HTTPError):
                if self._stopped.is_set():
                    return
                # The API server is away: a kubelet tries until it is back.
                time.sleep(0.2)
                self._work.put(task)

    def _see(self, type_: str, pod: Json) -> None:
        played = self._played.get(uid_of(pod))
        if type_ == "DELETED":
            if played:
                self._end_process(played)
                self._played.pop(uid_of(pod), None)
        elif played is None:
            played = self._played[uid_of(pod)] = _Played(pod, self._order_for(pod))
            if "deletionTimestamp" in pod["metadata"]:
                self._confirm(played)
            elif pod["status"].get("phase") == "Pending":
                self._begin(played)
        else:
            played.pod = pod
            if "deletionTimestamp" in pod["metadata"]:
                self._confirm(played)

    def _order_for(self, pod: Json) -> Order | None:
        for order in self.orders:
            labels = labels_on(pod)
            fits = (
                order.verb == verb_of(pod)
                and order.shard in {"", labels.get(SHARD)}
                and order.namespace in {"", labels.get(SOUP_NAMESPACE)}
                and order.image in {"", pod["spec"]["containers"][0]["image"]}
            )
            if fits and self._given.get(id(order), 0) < order.times:
                self._given[id(order)] = self._given.get(id(order), 0) + 1
                return order
        return None

    def _begin(self, played: _Played) -> None:
        order = played.order
        if order and order.waiting:
            state = {"waiting": {"reason": order.waiting, "message": order.message}}
            self._say(played, "Pending", state, ready=False)
            if order.event:
                self._warn(played.pod, order.event, order.message)
            return
        if order and order.removed:
            self._end(played)
            return
        played.address = Address.next()
        played.began = now()
        self._start_process(played)
        self._say(
            played,
            "Running",
            {"running": {"startedAt": played.began}},
            ready=verb_of(played.pod) != "serve",
        )
        if order and order.late:
            played.did = self._do(played)
        if verb_of(played.pod) != "serve" and not (order and order.hold):
            self._finish(played)

    def _start_process(self, played: _Played) -> None:
        spec = self._spec(played)
        if spec.verb == "serve":
            kitchen = self.kitchen(spec.soup.uid)

            def granted(what: str) -> None:
                for callback in self.on_grant:
                    callback(what)
                if what == "commit":
                    self._work.put(lambda: self._ready_now(played))

            recipient = Recipient(spec.soup.uid, variables_of(played.pod).get(POD_UID, ""))
            verifier = GrantVerifier.of(spec.grant_keys, recipient)
            played.server = PlayedServer(played.address, kitchen.store, verifier, granted)
            played.server.start()
        elif spec.verb == "train" and played.order and played.order.hold:
            played.server = ProgressServer(played.address)
            played.server.start()

    def _ready_now(self, played: _Played) -> None:
        if not played.ended:
            self._say(played, "Running", {"running": {"startedAt": played.began}}, ready=True)

    def _spec(self, played: _Played) -> Any:
        return RUN_SPECS.validate_json(annotations_on(played.pod)[RUN_SPEC])

    def _finish(self, played: _Played) -> None:
        """Let a run come to what it comes to."""
        order = played.order
        if order and (order.exit_code or order.removed):
            self._end(played)
            return
        did = played.did or self._do(played)
        if isinstance(did, Failure):
            problem = Problem(exit_code=did.exit_code or 1, message=did.message, help=did.help)
            self._ended(played, problem.exit_code, result_json(ResultMessage(problem=problem)))
            return
        self._ended(played, 0, result_json(did.message()))

    def _do(self, played: _Played) -> RunResult | Failure:
        """Do what a run does."""
        spec = self._spec(played)
        if isinstance(spec, TrainRun | MergeRun | EvaluateRun):
            try:
                claim_prefix(self.marks, Keys(spec.soup.namespace), spec.namespace)
            except Refused as error:
                return Failure(error.exit_code, error.message, error.help)
        did = self.kitchen(spec.soup.uid).outcome_of(spec)
        if isinstance(did, MergeResult):
            return did.model_copy(update={"pixels_per_latent": PIXELS_PER_LATENT})
        if not isinstance(did, EvaluateResult):
            return did
        return did.model_copy(update={"figures": {"heldout_loss": "0.25"}})

    def _end(self, played: _Played) -> None:
        order = played.order
        assert order
        if order.removed:
            self._end_process(played)
            played.ended = True
            status = {"phase": "Failed", "reason": order.removed, "message": order.message}
            self.admin.status(PODS, namespace_of(played.pod), name_of(played.pod), status)
            return
        word = order.message
        if order.problem:
            problem = Problem(exit_code=order.exit_code, message=order.problem, help="mend it")
            word = result_json(ResultMessage(problem=problem))
        self._ended(played, order.exit_code, word, order.reason)

    def _ended(self, played: _Played, code: int, message: str, reason: str = "") -> None:
        self._end_process(played)
        played.ended = True
        ended = {
            "exitCode": code,
            "reason": reason or ("Error" if code else "Completed"),
            "message": message,
            "startedAt": played.began or now(),
            "finishedAt": now(),
        }
        phase = "Failed" if code else "Succeeded"
        self._say(played, phase, {"terminated": ended}, ready=False)

    def _confirm(self, played: _Played) -> None:
        """End a pod's process, say so, and let its object go."""
        if not played.ended and played.began:
            self._ended(played, 143, "")
        self.admin.delete(
            PODS,
            namespace_of(played.pod),
            name_of(played.pod),
            gracePeriodSeconds=0,
            preconditions={"uid": uid_of(played.pod)},
        )

    def _end_process(self, played: _Played) -> None:
        if played.server:
            played.server.stop()

    def _say(self, played: _Played, phase: str, state: Json, *, ready: bool) -> None:
        pod, at = played.pod, now()
        container = {
            "name": verb_of(pod),
            "image": pod["spec"]["containers"][0]["image"],
            "imageID": "",
            "ready": ready,
            "started": "running" in state,
            "restartCount": 0,
            "state": state,
        }
        conditions = [
            {"type": kind, "status": str(ready), "lastTransitionTime": at}
            for kind in ("Ready", "ContainersReady")
        ]
        status: Json = {"phase": phase, "containerStatuses": [container], "conditions": conditions}
        if played.address:
            status |= {"podIP": played.address, "podIPs": [{"ip": played.address}], "startTime": at}
        self.admin.status(PODS, namespace_of(pod), name_of(pod), status)

    def _warn(self, pod: Json, reason: str, message: str) -> None:
        at = now()
        self.admin.create(
            EVENTS,
            namespace_of(pod),
            {
                "metadata": {"generateName": "kubelet-", "namespace": namespace_of(pod)},
                "involvedObject": {
                    "kind": "Pod",
                    "namespace": namespace_of(pod),
                    "name": name_of(pod),
                    "uid": uid_of(pod),
                },
                "reason": reason,
                "message": message,
                "type": "Warning",
                "source": {"component": "kubelet"},
                "firstTimestamp": at,
                "lastTimestamp": at,
            },
        )

    def _ready(self) -> Json:
        at = now()
        return {
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "lastHeartbeatTime": at,
            "lastTransitionTime": at,
        }

    def _heart(self) -> None:
        while not (self.is_lost or self._stopped.wait(HEARTBEAT_S)):
            try:
                self._beat()
            except (Refusal, OSError, urllib3.exceptions.HTTPError):
                continue

    def _beat(self) -> None:
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")  # noqa: TID251
        spec = {"holderIdentity": self.node, "leaseDurationSeconds": 40, "renewTime": at}
        if self.admin.get(LEASES, "kube-node-lease", self.node) is None:
            self.admin.create(
                LEASES, "kube-node-lease", {"metadata": {"name": self.node}, "spec": spec}
            )
        else:
            self.admin.merge(LEASES, "kube-node-lease", self.node, {"spec": spec})


def variables_of(pod: Json) -> dict[str, str]:
    """The environment that a kubelet gives to a pod's container, as far as it is in the pod."""
    (container,) = pod["spec"]["containers"]
    fields = {"metadata.uid": uid_of(pod)}
    return {
        entry["name"]: entry["value"]
        if "value" in entry
        else fields[entry["valueFrom"]["fieldRef"]["fieldPath"]]
        for entry in container.get("env", ())
    }


def result_json(result: ResultMessage) -> str:
    return json.dumps(json.loads(result.model_dump_json(by_alias=True, exclude_none=True)))


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")  # noqa: TID251
