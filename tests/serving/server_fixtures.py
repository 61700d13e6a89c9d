"""A store with a base and a few revisions, and a real server on it, for tests.

pantry = a_pantry(tmp_path)                  a base and an empty folder store
one = pantry.publish("one")                  a revision, made from a shard called "one"
with a_server(pantry, tmp_path / "w") as server:
    server.serve(one, epoch=1)               granted, prepared, committed
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import urllib3
from tests import tiny

from stockpot.api.manifest import ArtefactKind, LineagePair, Manifest
from stockpot.api.results import ServeResult
from stockpot.api.runspec import (
    BaseRef,
    Location,
    ObjectRef,
    Place,
    RevisionRef,
    ServeRun,
    StoreRef,
)
from stockpot.api.serving import Grant, ServerState
from stockpot.core.digests import digest_of_bytes
from stockpot.metrics.progress import Progress
from stockpot.serving.run import run
from stockpot.store.artefacts import begin, publish
from stockpot.store.folder import FolderStore
from stockpot.store.keys import WEIGHTS, Keys
from stockpot.store.weights import canonicalise, inspect_weights

SOUP = ObjectRef(namespace="ml", name="emoji", uid="soup-uid")
KEYS = Keys(SOUP.namespace)
BAD_PREDICTION = 30_000.0
"""Weights so large that the UNet's output has NaN values."""


@dataclass(frozen=True)
class RevisionStore:
    """A base, and a store for its soup's revisions."""

    root: Path

    @property
    def base(self) -> Path:
        return self.root / "base"

    @property
    def base_ref(self) -> BaseRef:
        return BaseRef(location=Location(place=Place.FOLDER, path=str(self.base)))

    @property
    def ref(self) -> StoreRef:
        return StoreRef(url=f"file://{self.root / 'store'}")

    @property
    def store(self) -> FolderStore:
        return FolderStore(self.root / "store")

    def publish(self, name: str, *, seed: int = 1, scale: float = 0.02) -> RevisionRef:
        """Put a revision into the store, as a merge would."""
        made = self.root / "made" / f"{name}.safetensors"
        tiny.some_weights(self.base, made, seed=seed, scale=scale)
        return self.publish_file(name, made)

    def publish_file(self, name: str, made: Path) -> RevisionRef:
        """Put a revision of these weights into the store."""
        path = made.with_name(f"{name}.canonical.safetensors")
        canonicalise(made, path)
        weights = inspect_weights(path)
        revision = RevisionRef(
            recipe_digest=digest_of_bytes(name.encode()),
            weights_digest=weights.digest,
            lineage=(LineagePair(shard=name),),
        )
        manifest = Manifest(
            kind=ArtefactKind.REVISION,
            lineage=revision.lineage,
            digest=weights.digest,
            size_bytes=weights.size_bytes,
            tensors=weights.facts,
            recipe_digest=revision.recipe_digest,
        )
        folder_key = KEYS.revision(SOUP.uid, revision.recipe_digest)
        begin(self.store, folder_key, manifest)
        publish(self.store, folder_key, {WEIGHTS: path}, manifest)
        return revision

    def weights_file(self, revision: RevisionRef) -> Path:
        """The path of a revision's weights in the store, for tests that edit them."""
        return self.store.root / KEYS.revision(SOUP.uid, revision.recipe_digest) / WEIGHTS

    def forget(self, shard: str) -> None:
        """Write a shard's tombstone."""
        self.store.put(KEYS.tombstone(shard), b"{}")


def a_revision_store(root: Path) -> RevisionStore:
    """Make a base and an empty store."""
    torch.set_num_threads(1)
    tiny.a_base(root / "base")
    return RevisionStore(root)


@dataclass
class Answer:
    """The response of a port."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """A server on a thread of this process, with real ports."""

    url: str
    admin_url: str
    instance_id: str
    work: Path
    stop: threading.Event
    results: list[ServeResult] = field(default_factory=list)
    http: urllib3.PoolManager = field(
        default_factory=lambda: urllib3.PoolManager(retries=False, maxsize=16)
    )

    def ask(self, method: str, url: str, body: object = None) -> Answer:
        sent = {} if body is None else {"json": body}
        answer = self.http.request(method, url, timeout=240, **sent)  # type: ignore[arg-type]
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return Answer(answer.status, headers, answer.data)

    def draw(self, prompt: str = "a red circle", **body: object) -> Answer:
        return self.ask("POST", f"{self.url}/v1/images/generations", {"prompt": prompt, **body})

    def get(self, path: str) -> Answer:
        return self.ask("GET", self.url + path)

    def admin(self, path: str) -> Answer:
        return self.ask("GET", self.admin_url + path)

    def state(self) -> ServerState:
        return ServerState.model_validate_json(self.admin("/state").body)

    def grant(self, revision: RevisionRef, epoch: int, instance_id: str | None = None) -> Grant:
        return Grant(
            instance_id=instance_id or self.instance_id,
            epoch=epoch,
            number=epoch,
            revision=revision,
        )

    def prepare(self, grant: Grant) -> Answer:
        return self.ask("POST", f"{self.admin_url}/weights:prepare", grant.model_dump())

    def commit(self, grant: Grant) -> Answer:
        return self.ask("POST", f"{self.admin_url}/weights:commit", grant.model_dump())

    def prepared(self, revision: RevisionRef, epoch: int) -> Grant:
        """Grant a revision, and wait until it is prepared."""
        grant = self.grant(revision, epoch)
        assert self.prepare(grant).status == 202
        until(lambda: self.state().prepared is not None or self.state().problem != "")
        assert self.state().problem == ""
        return grant

    def serve(self, revision: RevisionRef, epoch: int) -> None:
        """Grant a revision, and commit it."""
        assert self.commit(self.prepared(revision, epoch)).status == 200

    def held(self) -> set[str]:
        """The shards of everything that is held."""
        return {pair.shard for hold in self.state().holds for pair in hold.lineage}


def a_serve_run(revisions: RevisionStore, **fields: Any) -> ServeRun:
    """The RunSpec of a server."""
    defaults: dict[str, Any] = {
        "name": "serve-emoji",
        "store": revisions.ref,
        "soup": SOUP,
        "base": revisions.base_ref,
        "port": 0,
        "admin_port": 0,
        "resolution": tiny.RESOLUTION,
        "leave_s": 0,  # Tests of the end set it; the others end at once.
    }
    return ServeRun(**{**defaults, **fields})


@contextmanager
def a_server(revisions: RevisionStore, work: Path, **fields: Any) -> Iterator[Server]:
    """Run a server until the block ends."""
    spec, stop, results = a_serve_run(revisions, **fields), threading.Event(), list[ServeResult]()
    work.mkdir(parents=True, exist_ok=True)
    thread = threading.Thread(
        target=lambda: results.append(run(spec, work=work, progress=Progress(), stop=stop))
    )
    thread.start()
    endpoint = work / "endpoint.json"
    try:
        until(lambda: endpoint.exists() or not thread.is_alive())
        endpoint_urls = json.loads(endpoint.read_text())
        yield Server(
            endpoint_urls["url"],
            endpoint_urls["adminUrl"],
            endpoint_urls["boot"],
            work,
            stop,
            results,
        )
    finally:
        stop.set()
        thread.join()


def until(is_so: Callable[[], bool], timeout_s: float = 240) -> None:
    """Poll a condition of another process or thread until it holds."""
    give_up_s = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < give_up_s, "it did not come about"
        time.sleep(0.01)
