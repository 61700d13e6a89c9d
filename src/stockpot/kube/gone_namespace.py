"""Tells a namespace that is gone from one that we may not read.

Our permissions in a namespace go with it, so that the API server answers Forbidden for both.
"""

from collections.abc import Callable

from stockpot.cluster.apiserver.client import Client, Listing
from stockpot.cluster.apiserver.errors import Forbidden, NotFound
from stockpot.cluster.apiserver.objects import Json
from stockpot.cluster.apiserver.resources import NAMESPACES, Resource
from stockpot.kube.cache import Cache


def is_gone(client: Client, namespace: str) -> bool:
    """Whether a namespace does not exist; False if we may not read it."""
    try:
        return client.find(NAMESPACES, None, namespace) is None
    except Forbidden:
        return False


def refresh(
    client: Client,
    cache: Cache,
    resource: Resource,
    namespace: str,
    selector: str,
    covers: Callable[[Json], bool] = lambda _: True,
    *,
    soup_uid: str,
) -> None:
    """List workloads of a soup into the cache; a namespace that is gone has none.

    Args:
        client: The API server.
        cache: Receives the objects.
        resource: Their kind.
        namespace: Their namespace.
        selector: Selects all of the soup's, or some.
        covers: Whether the selector selects an object of the soup.
        soup_uid: The UID of the soup.

    Raises:
        Forbidden: We may not list them, and the namespace exists.
    """
    try:
        listing: Listing[Json] = client.list(resource, namespace, label_selector=selector)
    except (Forbidden, NotFound):
        if not is_gone(client, namespace):
            raise
        cache.forget_namespace(namespace)
    else:
        cache.replace(resource, namespace, listing, covers, soup=soup_uid)
