"""Simulated servers, with the real state machine of grants.

A requested end of a pod is confirmed only later; until then it answers, and holds what it holds.
Names and UIDs are never reused.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from stockpot.serving import grants
from stockpot.serving.grants import Holdings


@dataclass
class Pod:
    """A server, as its process knows it."""

    holdings: Holdings
    name: str = ""
    is_silent: bool = False
    has_object: bool = True
    """Its object exists. The process goes on where the object was deleted by force."""
    is_ending: bool = False
    """Its end was requested, and no kubelet has confirmed it."""

    def move(self, *, dropping: bool = True) -> None:
        """Go on: fetch, warm up, and drop what no request uses any more."""
        for held in self.holdings.held:
            if held.stage is grants.CopyStage.FETCHING:
                self.holdings = grants.mark_fetched(self.holdings, held.token)
            elif held.stage is grants.CopyStage.LOADED:
                self.holdings = grants.mark_warmed(self.holdings, held.token)
        for token in grants.droppable(self.holdings) if dropping else ():
            self.holdings = grants.mark_gone(self.holdings, token)

    @property
    def is_moving(self) -> bool:
        """Whether anything is still to be fetched, warmed up or dropped."""
        return any(held.stage is not grants.CopyStage.SERVING for held in self.holdings.held)


@dataclass
class Pods:
    """Every server process of a cluster."""

    known: dict[str, Pod] = field(default_factory=dict)
    """By UID, for as long as the process exists."""
    confirmed: set[str] = field(default_factory=set)
    """UIDs of pods whose end the kubelet has confirmed."""
    replicas: int = 0
    boots: int = 0

    def __getitem__(self, uid: str) -> Pod:
        return self.known[uid]

    def scale(self, replicas: int) -> None:
        """Set the number of pods; the end of surplus ones is requested."""
        self.replicas = replicas
        there = [uid for uid in self.observed() if not self.known[uid].is_ending]
        for uid in there[replicas:]:
            self.known[uid].is_ending = True
        for _ in range(replicas - len(there)):
            self.begin()

    def begin(self) -> None:
        """Start a pod that holds nothing."""
        self.boots += 1
        name = f"pod-{self.boots:03d}"
        self.known[f"{name}-uid"] = Pod(Holdings(f"boot-{self.boots}"), name)

    def restart(self, uid: str) -> None:
        """End a server's process, and start another in the same pod."""
        self.boots += 1
        self.known[uid].holdings = Holdings(f"boot-{self.boots}")
        self.known[uid].is_silent = False

    def replace(self, uid: str) -> None:
        """Delete a pod gracefully, and start another."""
        if not self.known[uid].is_ending:
            self.known[uid].is_ending = True
            self.begin()

    def end_all(self) -> None:
        """Request the end of every pod."""
        self.replicas = 0
        for pod in self.known.values():
            pod.is_ending = True

    def end(self, uid: str) -> None:
        """Confirm the end of a pod: by its kubelet, or because its node is marked as shut down."""
        del self.known[uid]
        self.confirmed.add(uid)

    def delete_by_force(self, uid: str) -> None:
        """Delete a pod's object by force; its process goes on, on a node that does not answer."""
        pod = self.known[uid]
        pod.has_object = False
        if not pod.is_ending:
            self.begin()

    def move(self, *, dropping: bool = True) -> None:
        for pod in self.known.values():
            pod.move(dropping=dropping)

    def observed(self) -> list[str]:
        return sorted(uid for uid, pod in self.known.items() if pod.has_object)

    def without_object(self) -> list[str]:
        return sorted(uid for uid, pod in self.known.items() if not pod.has_object)

    def ending(self) -> list[str]:
        """Return the pods that have an object and whose end is requested."""
        return [uid for uid in self.observed() if self.known[uid].is_ending]

    def served(self) -> Iterable[Pod]:
        """Return the pods that serve a revision."""
        return (pod for pod in self.known.values() if pod.holdings.serving)
