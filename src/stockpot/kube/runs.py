"""The port `Runs` on a cluster: runs as Jobs."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from stockpot.api.run_kinds import RunKind
from stockpot.api.runspec import RunSpec
from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.errors import AlreadyExists, Conflict, NamespaceEnding, NotFound
from stockpot.cluster.apiserver.labels import RUN, selector_of
from stockpot.cluster.apiserver.objects import (
    Json,
    condition_of,
    is_alive,
    labels_on,
    name_of,
    namespace_of,
    owner_uid,
    time_of,
    uid_of,
)
from stockpot.cluster.apiserver.resources import JOBS, PODS, Resource
from stockpot.cluster.apiserver.settings import OperatorSettings
from stockpot.cluster.manifests.job_status import runs_of
from stockpot.cluster.manifests.jobs import is_outdated, job_of
from stockpot.cluster.manifests.startup_blockers import startup_blocker_of
from stockpot.core.recipe import Lineage
from stockpot.core.runs import Run, RunName
from stockpot.kube.cache import Cache, jsons
from stockpot.kube.gone_namespace import refresh
from stockpot.kube.pod_client import PodClient
from stockpot.kube.pod_events import PodEventReader
from stockpot.reconcile.ports import SoupKey

PATIENCE = timedelta(seconds=5)
"""Age of a Job before which its pods are not checked for startup blockers."""


class ClusterRuns:
    """The runs of one soup."""

    def __init__(
        self,
        client: Client,
        cache: Cache,
        key: SoupKey,
        settings: OperatorSettings,
        pod_client: PodClient,
        events: PodEventReader,
        now: Callable[[], datetime],
        soup_uid: Callable[[], str],
    ) -> None:
        self._client, self._cache, self._key, self._soup_uid = client, cache, key, soup_uid
        self._settings, self._pods, self._events = settings, pod_client, events
        self._now = now

    def list(self, *, fresh: bool) -> tuple[Run, ...]:
        """Return every run of the soup that exists, running or ended."""
        if fresh:
            self._refresh()
        jobs, pods = self._known()
        named = {labels_on(job)[RUN]: job for job in jobs}
        return tuple(
            self._with_details(run, named[run.name], pods) if run.name in named else run
            for run in runs_of(jobs, pods)
        )

    def start(self, name: RunName, lineage: Lineage, spec: RunSpec) -> None:
        """Create the run's Job, unless it exists."""
        try:
            made = self._client.create(JOBS, job_of(name, lineage, spec, self._settings))
        except (AlreadyExists, NamespaceEnding):
            return
        self._cache.put(JOBS, made)

    def end(self, name: RunName) -> None:
        """Delete the run's Job, which stays listed until the kubelet has ended its last process."""
        jobs, _ = self._known()
        for job in jobs:
            if labels_on(job)[RUN] != name or "deletionTimestamp" in job["metadata"]:
                continue
            try:
                self._client.delete(
                    JOBS, namespace_of(job), name_of(job), uid=uid_of(job), propagation="Foreground"
                )
            except NotFound:
                self._cache.remove(JOBS, job)
            except Conflict:
                return  # It was replaced meanwhile: the next reconcile reads the new one.

    def _namespaces(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self._key.namespace, self._settings.release.namespace)))

    def _refresh(self) -> None:
        uid = self._soup_uid()
        for namespace in self._namespaces():
            for resource in (JOBS, PODS):
                refresh(
                    self._client, self._cache, resource, namespace, selector_of(uid), soup_uid=uid
                )

    def _known(self) -> tuple[tuple[Json, ...], tuple[Json, ...]]:
        uid = self._soup_uid()

        def known(resource: Resource) -> tuple[Json, ...]:
            return tuple(
                thing
                for namespace in self._namespaces()
                for thing in jsons(self._cache.of_soup(resource, namespace, uid))
                if RUN in labels_on(thing)
            )

        return known(JOBS), known(PODS)

    def _with_details(self, run: Run, job: Json, pods: tuple[Json, ...]) -> Run:
        """Add the progress of an active run, or what blocks its start."""
        if run.failure:
            return replace(run, is_outdated=self._is_outdated(job))
        if not run.is_active:
            return run
        own = [pod for pod in pods if owner_uid(pod) == uid_of(job)]
        running = [pod for pod in own if is_alive(pod) and pod["status"].get("podIP")]
        if running and pod_runs(running[-1]):
            if run.kind is not RunKind.TRAIN:
                return run
            pod = running[-1]
            return replace(
                run, progress=self._pods.training_progress(uid_of(pod), pod["status"]["podIP"])
            )
        now = self._now()
        created = time_of(job["metadata"].get("creationTimestamp"))
        if created and now - created < PATIENCE:
            return run
        events = self._events.about((job, *own))
        blocker = startup_blocker_of(job, own, events, now)
        is_outdated = blocker is not None and self._is_outdated(job)
        return replace(run, startup_blocker=blocker, is_outdated=is_outdated)

    def _is_outdated(self, job: Json) -> bool:
        """Whether the admin's settings would make another pod of the Job's run now."""
        return is_outdated(job, self._settings)


def pod_runs(pod: Json) -> bool:
    """Whether the kubelet reports the pod as running and Ready."""
    return pod["status"].get("phase") == "Running" and condition_of(pod, "Ready") is not None
