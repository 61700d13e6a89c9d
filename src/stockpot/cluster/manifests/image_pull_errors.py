"""Why an image cannot be had, in words. Pure."""

import re

from stockpot.api.conditions import Reason
from stockpot.cluster.apiserver.objects import Json, name_of, namespace_of
from stockpot.core.runs import StartupBlocker

PULLING = {
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "RegistryUnavailable",
    "ImageInspectError",
}
"""Why a container waits: it has no image."""

_CAUSES = (
    (
        r"unauthorized|authentication required|denied|403 forbidden|401",
        "the registry does not let us",
        "name a Secret with its credentials in images.pullSecrets of the chart's values",
    ),
    (
        r"x509|certificate",
        "the registry's certificate is not trusted by the node",
        "make the node's container runtime trust it",
    ),
    (
        r"no such host|timeout|refused|unreachable|dial tcp|tls handshake",
        "the registry does not answer the node",
        "look at the registry, and at the node's network",
    ),
    (
        r"not found|manifest unknown|does not exist|no match for platform",
        "the registry has no such image",
        "build and push it, or name another in images of the chart's values",
    ),
)


def not_pulled(pod: Json, status: Json, said_before: str) -> StartupBlocker:
    """Say why a pod has no image.

    Args:
        pod: It.
        status: Of its container, which waits.
        said_before: By the kubelet's events: while it backs off, only they say why.
    """
    waiting = status["state"]["waiting"]
    image = status.get("image") or pod["spec"]["containers"][0]["image"]
    if waiting["reason"] == "InvalidImageName":
        what = f"{image!r} is no name of an image"
        return StartupBlocker(
            Reason.IMAGE_UNAVAILABLE, what, "name one in images of the chart's values"
        )
    if waiting["reason"] == "ErrImageNeverPull":
        return StartupBlocker(
            Reason.IMAGE_UNAVAILABLE,
            f"the image {image} is not on the node {pod['spec'].get('nodeName', '')}, "
            "and is never to be pulled",
            "load it onto the node, or set images.pullPolicy to IfNotPresent in the chart's values",
        )
    details = f"{waiting.get('message', '')} {said_before}".lower()
    for pattern, why, help_ in _CAUSES:
        if re.search(pattern, details):
            what = f"the image {image} cannot be pulled: {why}"
            return StartupBlocker(Reason.IMAGE_UNAVAILABLE, what, help_)
    return StartupBlocker(
        Reason.IMAGE_UNAVAILABLE,
        f"the image {image} cannot be pulled",
        f"see kubectl describe pod -n {namespace_of(pod)} {name_of(pod)}",
    )
