"""The story on a cluster: `make demo`. What is typed is kubectl; what is read is the API's."""

import base64
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from install import PROOF, STUDIO, SYSTEM, Ground
from terminal import EXAMPLE, OUT, Teller
from venue import Timing
from watching import Sight, Watch

from stockpot.api.conditions import ConditionType
from stockpot.api.reading import read_lenient
from stockpot.api.runspec import StoreRef
from stockpot.api.v1alpha1 import DataShard, Soup, SoupRevision, UnlearningReceipt
from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.credentials import connect
from stockpot.cluster.apiserver.errors import Unavailable
from stockpot.cluster.apiserver.resources import (
    DATA_SHARDS,
    DEPLOYMENTS,
    JOBS,
    SERVICES,
    SOUP_REVISIONS,
    SOUPS,
    UNLEARNING_RECEIPTS,
    Resource,
)

LOOK_S = 1.0
PASSING_S = 10.0
"""What is over sooner needs no words: shards are applied before their soup, for one."""
STUCK_S = 180.0
"""A soup that says for so long that it cannot go on will not."""
SECRETS = Resource("", "v1", "secrets", "Secret")
SOUP = "emoji"
RECEIPT_BAR_S, FRESH_BAR_S = 60.0, 30.0
# Seconds on two slow cores, once the cluster is compiled: the whole story, and the quick one.
EXPECTED_S = {
    "prepare": (60, 60),
    "learn": (240, 150),
    "join": (90, 60),
    "leave": (30, 30),
    "forget": (45, 40),
    "proof": (90, 50),
    "end": (5, 5),
}


class Cluster:
    """One soup in one namespace of a cluster."""

    namespace = STUDIO
    base = EXAMPLE / "base"

    def __init__(self, ground: Ground, port: int) -> None:
        self._ground, self._port = ground, port
        self._teller = Teller()
        self._api: Client | None = None
        self._url = ""
        self._store: StoreRef | None = None
        self._timings: list[Timing] = []
        self._began_s: dict[str, float] = {}
        self._ended_s: dict[str, float] = {}

    def prepare(self, teller: Teller) -> None:
        """Have a cluster with an operator, and no soup of ours in it."""
        self._teller = teller
        shutil.rmtree(OUT, ignore_errors=True)
        OUT.mkdir(parents=True)
        self._ground.begin(teller)
        self._api = connect(context=self._ground.context, kubeconfig=self._ground.kubeconfig)
        for namespace in (STUDIO, PROOF):
            if self._objects(Soup, SOUPS, namespace) or self._objects(
                DataShard, DATA_SHARDS, namespace
            ):
                for kind in ("shards", "soups"):
                    self._kubectl("delete", kind, "--all", "-n", namespace)

    def apply(self, manifest: Path, members: Sequence[str]) -> None:
        """Apply, and wait until the soup is made of the members."""
        began_s = time.time()
        self._kubectl("apply", "-n", STUDIO, "-f", manifest)
        self._settle(STUDIO, members, began_s)

    def delete(self, shard: str) -> None:
        """Delete, and wait for the receipt and for the soup without it."""
        began_s = time.monotonic()
        known = {receipt.spec.sequence for receipt in self.receipts()}
        self._kubectl("delete", "shard", shard, "-n", STUDIO, "--wait=false")

        def receipt() -> bool:
            return any(receipt.spec.sequence not in known for receipt in self.receipts())

        left = [shard.metadata.name for shard in self._sight(STUDIO).shards if _is_kept(shard)]
        with Watch(self._teller) as watch:
            self._wait(receipt, watch, STUDIO)
            took_s = time.monotonic() - began_s
            self._timings.append(Timing(f"delete {shard} → receipt", took_s, RECEIPT_BAR_S))
            self._wait(lambda: self._sight(STUDIO).is_made_of(left), watch, STUDIO)
        self._teller.confirm(f"signed receipt after {took_s:.0f} s")

    def prove(self, manifests: Path, members: Sequence[str]) -> str:
        """Apply in a namespace where nothing was ever trained."""
        self._kubectl("apply", "-n", PROOF, "-f", manifests)
        self._settle(PROOF, members)
        return self._current(PROOF)

    def soup(self) -> Soup:
        """The soup as it is now."""
        current = read(Soup, SOUPS, self._client.get(SOUPS, STUDIO, SOUP))
        assert isinstance(current, Soup)
        return current

    def revisions(self) -> tuple[SoupRevision, ...]:
        """The revisions of this soup that there are."""
        return self._sight(STUDIO).revisions

    def receipts(self) -> tuple[UnlearningReceipt, ...]:
        """The receipts of this soup, in their order."""
        uid = self.soup().metadata.uid
        receipts = self._objects(UnlearningReceipt, UNLEARNING_RECEIPTS, STUDIO)
        ours = [receipt for receipt in receipts if receipt.spec.soup_ref.uid == uid]
        return tuple(sorted(ours, key=lambda our: our.spec.sequence))

    def endpoint(self) -> str:
        """Where the soup is served; empty while it is not."""
        if not self._url and self._api is not None:
            if self._client.find(SERVICES, STUDIO, SOUP) is None or not self._is_served():
                return ""
            self._url = self._ground.forward(STUDIO, SOUP, "80", self._port)
        return self._url

    def store(self) -> StoreRef:
        """The store through a forwarder, with the workloads' own credentials."""
        if self._store is None:
            store = yaml.safe_load(self._ground.values().read_text())["stores"]["default"]
            credentials = store["credentials"]
            own = credentials.get("namespaces", {}).get(STUDIO) or credentials["workload"]
            known = own.get("existingSecret") or "stockpot-store-default-workload"
            secret = self._client.get(SECRETS, STUDIO, known)
            os.environ.update(
                {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
            )
            url = urlsplit(store["endpoint"])
            service, _, namespace = (url.hostname or "").removesuffix(".svc").partition(".")
            endpoint = store["endpoint"]
            if (url.hostname or "").endswith(".svc"):
                endpoint = self._ground.forward(namespace, service, str(url.port), 0)
            self._store = StoreRef(url=store["url"], endpoint=endpoint)
        return self._store

    def public_key(self) -> Ed25519PublicKey:
        """What receipts are checked with: the public half of the key that the chart made."""
        signing_key = yaml.safe_load(self._ground.values().read_text()).get("signingKey", {})
        known = signing_key.get("existingSecret") or "stockpot-signing-key"
        pem = self._client.get(SECRETS, SYSTEM, known)["data"][
            signing_key.get("key", "signing-key.pem")
        ]
        key = load_pem_private_key(base64.b64decode(pem), None)
        assert isinstance(key, Ed25519PrivateKey)
        return key.public_key()

    def timings(self) -> Sequence[Timing]:
        """What was measured on the way."""
        return self._timings

    def expected_s(self, step: str, *, is_quick: bool) -> float | None:
        """How long a step takes on the built-in cluster, on two slow cores."""
        return EXPECTED_S[step][is_quick]

    def farewell(self) -> Mapping[str, str]:
        """What there is to look at, and how to end it."""
        kubectl = " ".join(self._ground.shown)
        return {
            "objects": f"{kubectl} get shards,soups,souprevisions,receipts -n {STUDIO}",
            "pods": f"{kubectl} get pods,jobs -A",
            "events": f"{kubectl} events -n {STUDIO}",
            **self._ground.farewell(self._url),
        }

    # How it is asked.

    @property
    def _client(self) -> Client:
        assert self._api is not None
        return self._api

    def _kubectl(self, *words: str | Path) -> None:
        self._teller.call(*self._ground.kubectl, *words, shown=(*self._ground.shown, *words))

    def _objects(self, kind: type[Any], resource: Resource, namespace: str) -> list[Any]:
        items = self._client.list(resource, namespace).items
        return [read(kind, resource, item) for item in items]

    def _sight(self, namespace: str) -> Sight:
        soup = self._client.find(SOUPS, namespace, SOUP)
        uid = soup["metadata"]["uid"] if soup else ""
        revisions = self._objects(SoupRevision, SOUP_REVISIONS, namespace)
        return Sight(
            read(Soup, SOUPS, soup) if soup else None,
            tuple(self._objects(DataShard, DATA_SHARDS, namespace)),
            tuple(revision for revision in revisions if revision.spec.soup_ref.uid == uid),
        )

    def _current(self, namespace: str) -> str:
        soup = self._sight(namespace).soup
        assert soup is not None
        assert soup.status.current_revision is not None
        return soup.status.current_revision.weights_digest

    def _is_served(self) -> bool:
        uid = self.soup().metadata.uid
        return any(
            event.get("status", {}).get("readyReplicas", 0) > 0
            for event in self._client.list(
                DEPLOYMENTS, STUDIO, label_selector=f"stockpot.dev/soup-uid={uid}"
            ).items
        )

    def _settle(self, namespace: str, members: Sequence[str], applied_s: float = 0.0) -> None:
        with Watch(self._teller) as watch:
            self._wait(lambda: self._sight(namespace).is_made_of(members), watch, namespace)
        if applied_s:
            self._measure(applied_s, members)

    def _wait(self, done: Callable[[], bool], watch: Watch, namespace: str) -> None:
        stalled_s, last_message = time.monotonic(), ""
        while True:
            try:
                sight = self._sight(namespace)
                watch(sight)
                self._note_trainings(namespace, sight)
                if done():
                    return
            except Unavailable as error:
                self._teller.say(f"[yellow]{error.message}[/]")
                sight = Sight(None, (), ())
            if not (why := _why_stalled(sight)):
                stalled_s = time.monotonic()
            elif why != last_message and time.monotonic() - stalled_s > PASSING_S:
                self._teller.say(f"[yellow]{why}[/]")
                last_message = why
            if time.monotonic() - stalled_s > STUCK_S:
                sys.exit(f"it goes no further: {why}")
            time.sleep(LOOK_S)

    def _note_trainings(self, namespace: str, sight: Sight) -> None:
        """Remember when training was under way: what comes before and after is ours to be quick at.

        A Job is gone soon after it has ended, and then the shard says when that was.
        """
        for job in self._client.list(
            JOBS, namespace, label_selector="app.kubernetes.io/component=train"
        ).items:
            name = job["metadata"]["labels"]["stockpot.dev/shard"]
            self._began_s.setdefault(name, _seconds(job["metadata"]["creationTimestamp"]))
        for shard in sight.shards:
            training = shard.status.training
            if training and training.completed_at:
                self._ended_s[shard.metadata.name] = _seconds(training.completed_at)

    def _measure(self, applied_s: float, members: Sequence[str]) -> None:
        """Say how long it took from `apply` until it was served, beside training itself.

        By then the soup was evaluated, too: when it was served, the fresh shards themselves say.
        """
        fresh = [name for name in members if self._began_s.get(name, 0.0) >= applied_s - 2]
        if not all(name in self._ended_s for name in fresh) or not fresh:
            return
        trained_s = max(self._ended_s[name] for name in fresh) - min(
            self._began_s[name] for name in fresh
        )
        served_s = max(
            _seconds(condition.last_transition_time)
            for shard in self._sight(STUDIO).shards
            if shard.metadata.name in fresh
            for condition in shard.status.conditions
            if condition.type == ConditionType.READY
        )
        what = f"apply → served with {', '.join(fresh)}, beside training"
        self._timings.append(Timing(what, served_s - applied_s - trained_s, FRESH_BAR_S))


def read(kind: type[Any], resource: Resource, thing: Mapping[str, Any]) -> Any:
    """Read an object as the API server has it."""
    known = read_lenient({"apiVersion": resource.api_version, "kind": resource.kind, **thing})
    assert isinstance(known, kind)
    return known


def _is_kept(shard: DataShard) -> bool:
    return shard.metadata.deletion_timestamp is None


def _why_stalled(sight: Sight) -> str:
    things = (*sight.shards, *((sight.soup,) if sight.soup else ()))
    for thing in things:
        for condition in thing.status.conditions:
            if condition.type == ConditionType.STALLED and condition.status == "True":
                return f"{thing.metadata.name}: {condition.message}"
    return ""


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp.replace("Z", "+00:00")).astimezone(UTC).timestamp()
