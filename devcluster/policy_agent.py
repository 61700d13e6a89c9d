"""The process that enforces NetworkPolicies: `python -m devcluster.policy_agent KEYS`.

It runs in the cluster's network, watches what the rules are made of, and replaces the table
whenever that changes. While the API server is away, the rules stay as they are.
"""

import http.client
import json
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from devcluster import keys
from devcluster.api import Api
from devcluster.cgroup_namespaces import ADDRESS
from devcluster.network_policies import table

PORT = 6443
LISTS = ("/apis/networking.k8s.io/v1/networkpolicies", "/api/v1/pods", "/api/v1/namespaces")
RETRY_S = 0.5
WATCH_S = 240
SILENT_S = 300.0
"""Longer than a watch takes: a connection that is silent for as long is lost."""


class PolicyAgent:
    """Keeps the rules in step with the API server."""

    def __init__(self, folder: Path) -> None:
        """Prepare it.

        Args:
            folder: The cluster's keys.
        """
        self._token, self._ca = keys.token(folder, "admin"), folder / "ca.crt"
        self._api = Api(f"https://{ADDRESS}:{PORT}", self._token, self._ca)
        self._changed = threading.Event()
        self._changed.set()
        self._applied = ""

    def run(self) -> None:
        """Enforce, for ever."""
        for path in LISTS:
            threading.Thread(target=self._follow, args=(path,), daemon=True).start()
        while True:
            self._changed.wait()
            self._changed.clear()
            if not self._enforce():
                threading.Event().wait(RETRY_S)
                self._changed.set()

    def _enforce(self) -> bool:
        """Write the rules of the moment; False where the API server does not say them."""
        listings = [self._api.get(path) for path in LISTS]
        items = [listing["items"] for listing in listings if listing is not None]
        if len(items) < len(LISTS):
            return False
        rules = table(*items)
        if rules == self._applied:
            return True
        ended = subprocess.run(
            ["nft", "-f", "-"], input=rules, capture_output=True, text=True, check=False
        )
        if ended.returncode:
            sys.stderr.write(f"error: nft refuses the rules: {ended.stderr}\n{rules}\n")
            return False
        self._applied = rules
        return True

    def _follow(self, path: str) -> None:
        """Note every change of what a path lists."""
        while True:
            try:
                self._watch(path)
            except (OSError, http.client.HTTPException, ValueError) as error:
                sys.stderr.write(f"{path}: {error}\n")
                threading.Event().wait(RETRY_S)

    def _watch(self, path: str) -> None:
        listing = self._api.get(path)
        if listing is None:
            raise ConnectionError("the API server does not answer")
        self._changed.set()  # What happened since the last watch.
        version = listing["metadata"]["resourceVersion"]
        trust = ssl.create_default_context(cafile=str(self._ca))
        connection = http.client.HTTPSConnection(ADDRESS, PORT, timeout=SILENT_S, context=trust)
        try:
            query = f"watch=1&resourceVersion={version}&timeoutSeconds={WATCH_S}"
            headers = {"Authorization": f"Bearer {self._token}"}
            connection.request("GET", f"{path}?{query}", headers=headers)
            answer = connection.getresponse()
            if answer.status != 200:
                raise ConnectionError(f"the API server answers {answer.status}")
            for line in answer:
                word: dict[str, Any] = json.loads(line)
                if word["type"] == "ERROR":
                    return
                self._changed.set()
        finally:
            connection.close()


def main() -> None:
    """Enforce until the cluster is taken down."""
    PolicyAgent(Path(sys.argv[1])).run()


if __name__ == "__main__":
    main()
