"""The port `Objects` of a Soup whose object is gone: its UnlearningDebts stand in for it.

The rounds that unlearn every soup pay them. Purge and sign runs are in the operator's namespace
already; in the soup's own, which may be gone, only what may still write or serve is looked for.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

from stockpot.api.v1alpha1 import (
    DataShard,
    DebtReason,
    Soup,
    SoupRevision,
    UnlearningDebt,
    UnlearningReceipt,
)
from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.errors import AlreadyExists, Forbidden, NamespaceEnding, NotFound
from stockpot.cluster.apiserver.objects import name_of
from stockpot.cluster.apiserver.resources import (
    SOUPS,
    UNLEARNING_DEBTS,
    UNLEARNING_RECEIPTS,
)
from stockpot.kube.cache import Cache, jsons
from stockpot.kube.status_writer import StatusWriter, read
from stockpot.reconcile.objects.debt import is_paid, soup_of, stem_of, with_progress
from stockpot.reconcile.ports import ObservedObjects, SoupKey


def debts_of(
    client: Client, cache: Cache, release_namespace: str, soup_uid: str | None, *, fresh: bool
) -> tuple[UnlearningDebt, ...]:
    """Read the debts of a soup from the operator's namespace, paid ones too."""
    if fresh:
        listing = client.list(UNLEARNING_DEBTS, release_namespace)
        cache.replace(UNLEARNING_DEBTS, release_namespace, listing)
    known = cache.of_soup(UNLEARNING_DEBTS, release_namespace, soup_uid or "")
    return tuple(read(UnlearningDebt, debt) for debt in jsons(known))


def soup_of_key(cache: Cache, key: SoupKey) -> Soup | None:
    """Return the Soup that the debts of a key stand for; None where all are paid."""
    debts = debts_of_key(cache, key)
    return soup_of(debts) if debts else None


def debts_of_key(cache: Cache, key: SoupKey) -> tuple[UnlearningDebt, ...]:
    """Return the debts of a soup, paid ones too; none where all are paid."""
    debts = [
        read(UnlearningDebt, debt)
        for debt in cache.list(UNLEARNING_DEBTS, key.namespace)
        if name_of(debt).startswith(key.name)
    ]
    unpaid = next((debt for debt in debts if stem_of(debt) == key.name and not is_paid(debt)), None)
    if unpaid is None:
        return ()
    return tuple(debt for debt in debts if debt.spec.soup.uid == unpaid.spec.soup.uid)


def soup_still_exists(cache: Cache, soup: Soup) -> bool:
    """Whether the Soup of a debt is not gone yet: until then its own rounds do everything."""
    there = cache.find(SOUPS, soup.metadata.namespace, soup.metadata.name)
    return there is not None and there.uid == soup.metadata.uid


class DebtObjects:
    """The port `Objects` of a soup that is gone: its debts, as if they were the Soup."""

    def __init__(
        self,
        client: Client,
        cache: Cache,
        key: SoupKey,
        writer: StatusWriter,
        now: Callable[[], datetime],
    ) -> None:
        """Prepare the port.

        Args:
            client: The API server.
            cache: Has the debts.
            key: The operator's namespace, and what the names of the debts begin with.
            writer: Writes the debts.
            now: The clock.
        """
        self._client, self._cache, self._key = client, cache, key
        self._writer, self._now = writer, now
        self._soup: Soup | None = None
        self._namespace_lives = False
        """Whether the soup's namespace was not being deleted when the Soup was let go."""
        self._stages: dict[str, str] = {}
        self._versions: dict[str, str] = {}
        """Resource versions of the debts that this round is about, by name."""

    def soup(self) -> Soup | None:
        """Return the Soup that the debts stand for, with the changes of this round."""
        return self._soup

    def read(self, *, fresh: bool) -> ObservedObjects:
        """Read the debts; there is no Soup where all are paid, or while it still exists."""
        if fresh:
            listing = self._client.list(UNLEARNING_DEBTS, self._key.namespace)
            self._cache.replace(UNLEARNING_DEBTS, self._key.namespace, listing)
        self._stages = {}
        self._versions = {
            name_of(debt): debt["metadata"]["resourceVersion"]
            for debt in self._cache.list(UNLEARNING_DEBTS, self._key.namespace)
        }
        debts = debts_of_key(self._cache, self._key)
        self._soup = soup_of(debts) if debts else None
        self._namespace_lives = all(debt.spec.reason is DebtReason.FORCE_DELETED for debt in debts)
        if self._soup is None or soup_still_exists(self._cache, self._soup):
            self._soup = None
            return ObservedObjects(None)
        return ObservedObjects(self._soup, namespace_terminates=True, is_soup_gone=True)

    def change_soup(self, edit: Callable[[Soup], Soup]) -> None:
        """Change the Soup that the debts stand for; written by `flush`."""
        if self._soup is not None:
            self._soup = edit(self._soup)

    def change_shard(self, uid: str, edit: Callable[[DataShard], DataShard]) -> None:
        """Take the stage of an unlearning from the report about a shard without an object."""
        notes = self._soup.status.lost if self._soup else ()
        note = next((note for note in notes if note.uid == uid), None)
        if note is None:
            return
        status = {"unlearning": note.unlearning}
        meta = {"name": note.name, "uid": uid}
        spec = {"soupRef": {"name": "gone"}, "source": {"s3": {"prefix": "gone"}}}
        shard = DataShard.model_validate({"metadata": meta, "spec": spec})
        shard = edit(shard.model_copy(update={"status": shard.status.model_copy(update=status)}))
        if shard.status.unlearning:
            self._stages[uid] = shard.status.unlearning.stage

    def change_revision(self, name: str, edit: Callable[[SoupRevision], SoupRevision]) -> None:
        """Change nothing: a soup that is gone has no revisions."""

    def create(self, new: SoupRevision | UnlearningReceipt | UnlearningDebt) -> None:
        """Record a receipt in the soup's namespace, where that lived on; the debt has it too.

        The store has the receipt itself. A later namespace of that name is another tenant's.
        """
        if not isinstance(new, UnlearningReceipt) or not self._namespace_lives:
            return
        body = new.model_dump(mode="json", by_alias=True, exclude_none=True)
        body["metadata"] = {"name": new.metadata.name, "namespace": new.metadata.namespace}
        with suppress(AlreadyExists, NotFound, Forbidden, NamespaceEnding):
            self._client.create(UNLEARNING_RECEIPTS, body)

    def delete_revision(self, name: str) -> None:
        """Delete nothing: a soup that is gone has no revisions."""

    def flush(self) -> None:
        """Write what changed into each debt that is not paid.

        A debt that another process has written meanwhile is left alone: the next round reads it.
        """
        soup, now = self._soup, self._now()
        if soup is None:
            return
        for thing in self._cache.list(UNLEARNING_DEBTS, self._key.namespace):
            debt, version = read(UnlearningDebt, thing), thing["metadata"]["resourceVersion"]
            if debt.spec.soup.uid != soup.metadata.uid or is_paid(debt):
                continue
            if self._versions.get(name_of(thing)) != version:
                continue

            def edit(
                newest: UnlearningDebt, version: str = version, soup: Soup = soup
            ) -> UnlearningDebt:
                if newest.metadata.resource_version != version:
                    return newest
                return with_progress(newest, soup, self._stages, now)

            if edit(debt) != debt:
                self._writer.write(UnlearningDebt, thing, [edit])
                written = self._cache.get(UNLEARNING_DEBTS, self._key.namespace, name_of(thing))
                if written:
                    self._versions[name_of(thing)] = written["metadata"]["resourceVersion"]
