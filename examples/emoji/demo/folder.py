"""The story in a folder of this machine: `make demo-local`."""

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from terminal import EXAMPLE, OUT, ROOT, Teller, shorten, stockpot
from venue import Timing

from stockpot.api.runspec import StoreRef
from stockpot.api.v1alpha1 import Soup, SoupRevision, UnlearningReceipt
from stockpot.local.layout import Layout
from stockpot.local.session import Session
from stockpot.unlearning.keys import load_public_key

STATE, PROOF = OUT / "state", OUT / "proof"
CLAIM = ("--claim", f"emoji={EXAMPLE}")
# Seconds on two slow cores: the whole story, and the quick one.
EXPECTED_S = {
    "prepare": (5, 5),
    "learn": (160, 60),
    "join": (65, 30),
    "leave": (15, 10),
    "forget": (30, 15),
    "proof": (55, 20),
    "end": (2, 2),
}


class Folder:
    """Objects, store and server of one folder."""

    namespace = "default"
    base = EXAMPLE / "base"

    def __init__(self, port: int) -> None:
        self._port = port
        self._teller = Teller()

    def prepare(self, teller: Teller) -> None:
        """Begin with a key in an empty folder."""
        self._teller = teller
        shutil.rmtree(OUT, ignore_errors=True)
        OUT.mkdir(parents=True)
        teller.run("keygen", "--out", STATE / "signing-key.pem")

    def apply(self, manifest: Path, members: Sequence[str]) -> None:
        """Apply, which reconciles until settled."""
        del members
        options = (*CLAIM, "--port", str(self._port), "--dir", STATE)
        self._teller.run("local", "apply", "-f", manifest, *options)

    def delete(self, shard: str) -> None:
        """Delete, which reconciles until settled."""
        self._teller.run("local", "delete", f"shard/{shard}", "--dir", STATE)

    def prove(self, manifests: Path, members: Sequence[str]) -> str:
        """Apply in another folder, which is empty."""
        del members
        self._teller.run("local", "apply", "-f", manifests, *CLAIM, "--dir", PROOF)
        current = _soup(PROOF).status.current_revision
        assert current is not None
        return current.weights_digest

    def soup(self) -> Soup:
        """The soup as it is now."""
        return _soup(STATE)

    def revisions(self) -> tuple[SoupRevision, ...]:
        """The revisions that there are."""
        return tuple(Session(Layout(STATE)).objects.list(SoupRevision, self.namespace))

    def receipts(self) -> tuple[UnlearningReceipt, ...]:
        """The receipts of the soup."""
        return tuple(Session(Layout(STATE)).objects.list(UnlearningReceipt, self.namespace))

    def endpoint(self) -> str:
        """Where the soup is served; empty while it is not."""
        return endpoint(STATE)

    def store(self) -> StoreRef:
        """The folder's store."""
        return Session(Layout(STATE)).environment.store

    def public_key(self) -> Ed25519PublicKey:
        """What receipts are checked with."""
        return load_public_key(STATE / "signing-key.pem.pub")

    def timings(self) -> Sequence[Timing]:
        """Nothing: the commands say themselves how long they took."""
        return ()

    def expected_s(self, step: str, *, is_quick: bool) -> float | None:
        """How long a step takes on two slow cores."""
        return EXPECTED_S[step][is_quick]

    def farewell(self) -> Mapping[str, str]:
        """What there is to look at, and how to end it."""
        return {
            "ask it": f"{endpoint(STATE)}   (the server stays up)",
            "receipts": shorten(STATE / "store/default/receipts"),
            "objects": f"{stockpot()} local get --dir {shorten(STATE)}",
            "stop it": f"{stockpot()} local down --dir {shorten(STATE)}",
        }


def _soup(state: Path) -> Soup:
    session = Session(Layout(state))
    [key] = session.objects.soup_keys()
    soup = session.ports(key).objects.read(fresh=True).soup
    assert soup is not None
    return soup


def endpoint(state: Path) -> str:
    """Where the soup of a folder is served; empty while it is not."""
    for endpoint_file in state.glob("servers/*/work/endpoint.json"):
        try:
            return str(json.loads(endpoint_file.read_bytes())["url"])
        except (FileNotFoundError, json.JSONDecodeError):
            continue
    return ""


def free_the_port(port: int) -> None:
    """End what an earlier demo left running; say at once where something else has the port."""
    for state in (STATE, PROOF):
        if state.exists():
            down = [sys.executable, "-m", "stockpot.cli", "local", "down", "--dir", state]
            subprocess.run(down, check=False, cwd=ROOT)
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            sys.exit(f"port {port} is taken\n  help: make demo-local PORT=another")
