"""Servers as their processes know them, with the real state machine of grants.

A pod's end that was asked for is confirmed only later; until then it answers, and holds what it
holds. Its name and UID are never used again.
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
    is_seen: bool = True
    """Its object is there. A process goes on where somebody deleted that by force."""
    is_ending: bool = False
    """It was asked to end; no kubelet has confirmed that it did."""

    def move(self, *, dropping: bool = True) -> None:
        """Do what is under way: fetch, warm up, and drop, unless requests still use it."""
        for one in self.holdings.held:
            if one.stage is grants.CopyStage.FETCHING:
                self.holdings = grants.mark_fetched(self.holdings, one.token)
            elif one.stage is grants.CopyStage.LOADED:
                self.holdings = grants.mark_warmed(self.holdings, one.token)
        for token in grants.droppable(self.holdings) if dropping else ():
            self.holdings = grants.mark_gone(self.holdings, token)

    @property
    def is_moving(self) -> bool:
        """Whether anything is still to be fetched, warmed up or dropped."""
        return any(one.stage is not grants.CopyStage.SERVING for one in self.holdings.held)


@dataclass
class Pods:
    """Every server process of a kitchen."""

    known: dict[str, Pod] = field(default_factory=dict)
    """By UID, for as long as the process is there."""
    confirmed: set[str] = field(default_factory=set)
    """UIDs of pods whose end the kubelet has confirmed."""
    asked_for: int = 0
    boots: int = 0

    def __getitem__(self, uid: str) -> Pod:
        return self.known[uid]

    def scale(self, replicas: int) -> None:
        """Have so many; what is too many is asked to end."""
        self.asked_for = replicas
        there = [uid for uid in self.seen() if not self.known[uid].is_ending]
        for uid in there[replicas:]:
            self.known[uid].is_ending = True
        for _ in range(replicas - len(there)):
            self.begin()

    def begin(self) -> None:
        """A pod begins, holding nothing."""
        self.boots += 1
        name = f"pod-{self.boots:03d}"
        self.known[f"{name}-uid"] = Pod(Holdings(f"boot-{self.boots}"), name)

    def restart(self, uid: str) -> None:
        """A server's process ends, and another begins in the same pod."""
        self.boots += 1
        self.known[uid].holdings = Holdings(f"boot-{self.boots}")
        self.known[uid].is_silent = False

    def replace(self, uid: str) -> None:
        """A pod is deleted as it should be, and another begins."""
        if not self.known[uid].is_ending:
            self.known[uid].is_ending = True
            self.begin()

    def end_all(self) -> None:
        """The namespace ends: every pod is asked to end."""
        self.asked_for = 0
        for pod in self.known.values():
            pod.is_ending = True

    def end(self, uid: str) -> None:
        """Its last process ends, and the kubelet says so; or its node is said to be shut down."""
        del self.known[uid]
        self.confirmed.add(uid)

    def delete_by_force(self, uid: str) -> None:
        """Somebody deletes a pod's object; its process goes on, on a node that does not answer."""
        pod = self.known[uid]
        pod.is_seen = False
        if not pod.is_ending:
            self.begin()

    def move(self, *, dropping: bool = True) -> None:
        for pod in self.known.values():
            pod.move(dropping=dropping)

    def seen(self) -> list[str]:
        return sorted(uid for uid, pod in self.known.items() if pod.is_seen)

    def unseen(self) -> list[str]:
        return sorted(uid for uid, pod in self.known.items() if not pod.is_seen)

    def ending(self) -> list[str]:
        """Those that are seen to be asked to end."""
        return [uid for uid in self.seen() if self.known[uid].is_ending]

    def served(self) -> Iterable[Pod]:
        """Those that answer with anything."""
        return (pod for pod in self.known.values() if pod.holdings.serving)
