"""A release of the chart on the tests' API server, with its operator as a process of this machine.

Helm makes every object; the rights and settings of the operator are those of the chart. Hooks are
left out, because no node runs them: `check` does what the hook does, in a process of its own.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml
from devcluster import build
from tests.controlplane.testbed import ROOT, Operator, TestCluster

from stockpot.cluster.apiserver.objects import Json
from stockpot.cluster.apiserver.resources import CONFIG_MAPS

CHART = ROOT / "charts" / "stockpot"
NAME = "stockpot"


class ChartRelease:
    """One release, in the release namespace of a test's cluster."""

    def __init__(self, test_cluster: TestCluster) -> None:
        self._cluster = test_cluster
        self._programs = build.built(build.control_plane())
        self._number = 0
        self._deployed: list[int] = []
        """Numbers of the revisions that were deployed, the last one at the end."""

    def upgrade(self, namespaces: Sequence[str]) -> None:
        """Install or upgrade it, with these workload namespaces."""
        values = self._cluster.folder / "values.yaml"
        values.write_text(yaml.safe_dump(self._values(namespaces)))
        self._deploy("upgrade", "--install", NAME, str(CHART), f"--values={values}")

    def rollback(self, *, lists_again: bool) -> None:
        """Go back to the revision that was deployed before.

        Args:
            lists_again: Whether it lists a namespace that is not listed now, where objects were
                kept. Helm takes them over at its second attempt, as our page says.
        """
        command = ("rollback", NAME, str(self._deployed[-2]))
        if lists_again:
            before, ended = self.settings(), self._helm(*command)
            assert ended.returncode != 0
            assert 'original object NetworkPolicy with the name "stockpot-runs"' in ended.stderr
            assert self.settings() == before
        self._deploy(*command)

    def uninstall(self) -> None:
        ended = self._helm("uninstall", NAME, "--ignore-not-found")
        assert ended.returncode == 0, ended.stdout + ended.stderr

    def check(self, namespaces: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Check an upgrade to these namespaces as the chart's hook does."""
        return subprocess.run(
            [
                *(sys.executable, "-m", "stockpot.cluster.chart.upgrade_check"),
                *("--settings", str(self._settings_file()), *namespaces),
            ],
            env={**os.environ, "KUBECONFIG": str(self._cluster.admin.cluster.kubeconfig)},
            capture_output=True,
            text=True,
            check=False,
        )

    def operator(self) -> Operator:
        """Start an operator with the settings that are on the cluster now."""
        self._number += 1
        name = f"operator-{self._number}"
        return self._cluster.start_operator(name, self._settings_file(), f"{NAME}-operator")

    def settings(self) -> Json:
        """Read the operator's settings from the cluster."""
        where = self._cluster.release
        config_map = self._cluster.admin.get(CONFIG_MAPS, where, f"{NAME}-settings")
        assert config_map
        settings: Json = yaml.safe_load(config_map["data"]["settings.yaml"])
        return settings

    def _settings_file(self) -> Path:
        # The key is mounted into the operator's pod; this process has it in a file.
        changed = {"grantKey": str(self._cluster.grant_key)}
        path = self._cluster.folder / f"settings-{self._number}.yaml"
        path.write_text(yaml.safe_dump({**self.settings(), **changed}))
        return path

    def _values(self, namespaces: Sequence[str]) -> Json:
        node = {"kubernetes.io/hostname": self._cluster.kubelet.node}
        return {
            "workloadNamespaces": list(namespaces),
            "stores": {
                "default": {
                    "url": "s3://soups/here",
                    "endpoint": "http://store.example:8333",
                    "credentials": {
                        "workload": {"accessKey": "workload", "secretKey": "not-a-secret"},
                        "unlearn": {"accessKey": "unlearn", "secretKey": "not-a-secret"},
                    },
                }
            },
            # The operator is a process of the test: its Deployment's pods find no node.
            "operator": {"replicas": 1, "nodeSelector": {"nowhere": "true"}},
            "pods": {"nodeSelector": node, "tolerations": [{"operator": "Exists"}]},
            "crds": {"install": False},
        }

    def _deploy(self, *arguments: str) -> None:
        ended = self._helm(*arguments)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        status = json.loads(self._helm("status", NAME, "--output=json").stdout)
        self._deployed.append(status["version"])

    def _helm(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        where = [f"--kubeconfig={self._cluster.admin.cluster.kubeconfig}"]
        where += [f"--namespace={self._cluster.release}"]
        where += [] if arguments[0] == "status" else ["--no-hooks"]
        command = [str(self._programs / "helm"), *arguments, *where]
        return subprocess.run(command, capture_output=True, text=True, check=False)
