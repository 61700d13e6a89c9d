"""Builds the Job of a run. Pure: the same run gives the same Job.

A Job is created once and never changed: its template is immutable, and others own parts of it
(Kueue its `suspend`). One Job is one attempt; the plan decides about further attempts.
"""

import json

from stockpot.api.runspec import RUN_SPEC as RUN_SPECS
from stockpot.api.runspec import RunSpec
from stockpot.cluster.apiserver.labels import (
    LINEAGE,
    RUN_SPEC,
    SHARD_UIDS,
    job_name,
    labels_of,
    owner_of,
    workload_namespace,
)
from stockpot.cluster.apiserver.objects import Json, annotations_on
from stockpot.cluster.apiserver.resources import JOBS
from stockpot.cluster.apiserver.settings import OperatorSettings
from stockpot.cluster.manifests.pods import (
    PROGRESS_PORT,
    refuse_long,
    template_digest,
    template_of,
)
from stockpot.core.recipe import Lineage
from stockpot.core.runs import RunName
from stockpot.errors import FINAL_EXIT_CODES, Refused


def job_of(name: RunName, lineage: Lineage, spec: RunSpec, settings: OperatorSettings) -> Json:
    """Build the Job of a run.

    Raises:
        Refused: The RunSpec is too long, or names an unknown store.
    """
    spec = spec.model_copy(update={"name": name})
    annotations = {LINEAGE: json.dumps([list(ingredient) for ingredient in sorted(lineage)])}
    if about := {shard.uid for shard in spec.about}:
        annotations[SHARD_UIDS] = json.dumps(sorted(about))
    refuse_long(annotations, f"the run {name} of the soup {spec.soup.name}")
    namespace = workload_namespace(spec, settings)
    metadata: Json = {
        "name": job_name(spec.soup, name),
        "namespace": namespace,
        "labels": labels_of(spec),
        "annotations": annotations,
    }
    if namespace == spec.soup.namespace:
        metadata["ownerReferences"] = [owner_of(spec.soup)]
    return {
        "apiVersion": JOBS.api_version,
        "kind": JOBS.kind,
        "metadata": metadata,
        "spec": {
            "backoffLimit": 0,
            "podFailurePolicy": {
                "rules": [
                    # A drained node or a preempted pod is no failure of the run: the Job goes on.
                    {
                        "action": "Ignore",
                        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                    },
                    {
                        "action": "FailJob",
                        "onExitCodes": {"operator": "In", "values": list(FINAL_EXIT_CODES)},
                    },
                ]
            },
            "template": _template_of(spec, settings),
        },
    }


def _template_of(spec: RunSpec, settings: OperatorSettings) -> Json:
    assert spec.ends  # Servers are a Deployment.
    pod = {"restartPolicy": "Never", "terminationGracePeriodSeconds": spec.grace_s}
    return template_of(spec, settings, metrics_port=PROGRESS_PORT, pod=pod, container={})


def is_outdated(job: Json, settings: OperatorSettings) -> bool:
    """Whether a Job of the same run would have another pod template with these settings.

    What was asked for is compared, not what an admission webhook made of it: replacing a Job that
    a webhook changes would never end.
    """
    template = job["spec"]["template"]
    try:
        spec = RUN_SPECS.validate_json(annotations_on(template)[RUN_SPEC])
        return template_digest(_template_of(spec, settings)) != template_digest(template)
    except (KeyError, ValueError, Refused):
        # Another release wrote the RunSpec, or its store is declared no more.
        return True
