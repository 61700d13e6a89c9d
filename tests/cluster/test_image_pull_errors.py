"""Explanations for images that cannot be pulled."""

import pytest
from tests.cluster.blockers import blocker_of
from tests.cluster.shapes import (
    a_job,
    a_pod_that_waits,
    an_event,
)

from stockpot.api.conditions import Reason
from stockpot.core.runs import StartupBlocker

NO_SUCH = (
    'failed to pull and unpack image "example.org/trainer:1": failed to resolve reference '
    '"example.org/trainer:1": example.org/trainer:1: not found'
)


@pytest.mark.parametrize(
    ("text", "why", "help_"),
    [
        (NO_SUCH, "the registry has no such image", "build and push it"),
        ("401 Unauthorized", "the registry denied access", "images.pullSecrets"),
        ("pull access denied, repository does not exist", "denied access", "images.pullSecrets"),
        ("dial tcp: lookup example.org: no such host", "does not answer the node", "network"),
        ("x509: certificate signed by unknown authority", "certificate is not trusted", "trust"),
    ],
)
def test_an_image_that_cannot_be_pulled_is_named_with_the_cause(
    text: str, why: str, help_: str
) -> None:
    job = a_job()

    blocker = blocker_of(job, a_pod_that_waits(job, "ErrImagePull", text))

    assert blocker
    assert blocker.reason == Reason.IMAGE_UNAVAILABLE
    assert blocker.message.startswith("the image example.org/trainer:1 cannot be pulled: ")
    assert why in blocker.message
    assert help_ in blocker.help


def test_between_two_pulls_the_same_is_said() -> None:
    job = a_job()
    pulling = a_pod_that_waits(job, "ErrImagePull", NO_SUCH)
    backing_off = a_pod_that_waits(
        job, "ImagePullBackOff", 'Back-off pulling image "example.org/trainer:1"'
    )
    events = (
        an_event(pulling, "Failed", f"Failed to pull image: {NO_SUCH}"),
        an_event(pulling, "Failed", "Error: ImagePullBackOff", at="2026-11-22T12:03:00Z"),
    )

    assert blocker_of(job, pulling, events=events) == blocker_of(job, backing_off, events=events)


def test_what_is_no_name_of_an_image_is_quoted() -> None:
    job = a_job()

    blocker = blocker_of(job, a_pod_that_waits(job, "InvalidImageName", image="Trainer:"))

    assert blocker == StartupBlocker(
        Reason.IMAGE_UNAVAILABLE,
        "'Trainer:' is not a valid image name",
        "name one in images of the chart's values",
    )
