"""Lists the objects of one soup, past every cache, by the selectable fields of our CRDs.

An API server older than Kubernetes 1.31, or one whose CRDs were not upgraded, answers 400 to such a
selector: from then on whole namespaces are listed, and it is logged once.
"""

import structlog

from stockpot.api.crd import SELECTABLE_FIELDS
from stockpot.cluster.apiserver.client import Client, Listing
from stockpot.cluster.apiserver.errors import Invalid
from stockpot.cluster.apiserver.objects import Json
from stockpot.cluster.apiserver.resources import (
    DATA_SHARDS,
    SOUP_REVISIONS,
    SOUPS,
    UNLEARNING_RECEIPTS,
    Resource,
)
from stockpot.kube.cache import Cache

log = structlog.get_logger("stockpot.listing")

BAD_REQUEST = 400


def refresh_soup(client: Client, cache: Cache, namespace: str, name: str) -> None:
    """List the shards of a Soup, then the Soup, its revisions and its receipts into the cache.

    What is noted of a shard moves from its object into the Soup and into receipts, never back: read
    in this order, it is found in one of them. Receipts of an earlier Soup of that name are not
    read: its UID is another.
    """
    _refresh(client, cache, DATA_SHARDS, namespace, name, SELECTABLE_FIELDS[DATA_SHARDS.kind])
    _refresh(client, cache, SOUPS, namespace, name, "metadata.name")
    soup = cache.find(SOUPS, namespace, name)
    if soup is not None:
        for resource in (SOUP_REVISIONS, UNLEARNING_RECEIPTS):
            field = SELECTABLE_FIELDS[resource.kind]
            _refresh(client, cache, resource, namespace, soup.uid, field)


def _refresh(
    client: Client, cache: Cache, resource: Resource, namespace: str, soup: str, field: str
) -> None:
    if resource not in client.unselectable:
        try:
            listing = client.list(resource, namespace, field_selector=f"{field}={soup}")
        except Invalid as error:
            if error.status != BAD_REQUEST:
                raise
            _note_refusal(client, resource, error)
        else:
            cache.replace(resource, namespace, listing, soup=soup)
            return
    whole: Listing[Json] = client.list(resource, namespace)
    cache.replace(resource, namespace, whole)


def _note_refusal(client: Client, resource: Resource, error: Invalid) -> None:
    is_first = not client.unselectable
    client.unselectable.add(resource)
    if is_first:
        log.warning(
            "the API server does not select objects by their soup: whole namespaces are listed "
            "before each irrevocable step",
            why=error.server_message,
            help="helm upgrade the release, which brings its CRDs; Kubernetes selects by fields "
            "of CRDs from 1.31 on",
        )
