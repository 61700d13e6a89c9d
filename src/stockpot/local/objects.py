"""Objects as YAML files: the port `Objects`, and what kubectl would do to them."""

import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from stockpot.api.v1alpha1 import (
    DataShard,
    Soup,
    SoupRevision,
    UnlearningReceipt,
)
from stockpot.api.writing import yaml_text
from stockpot.errors import Refused, Waiting, describe
from stockpot.local.layout import Layout
from stockpot.reconcile.objects.fields import timestamp
from stockpot.reconcile.objects.receipt import is_same_receipt, other_name
from stockpot.reconcile.ports import ObservedObjects, SoupKey
from stockpot.store.atomic import write_whole

# The same as safe_load, in C: every round reads every object.
SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Object = DataShard | Soup | SoupRevision | UnlearningReceipt
Kind = TypeVar("Kind", DataShard, Soup, SoupRevision, UnlearningReceipt)


class ObjectFolder:
    """All objects of a folder. One process at a time: whoever holds the folder's lock."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def read(self, kind: type[Kind], namespace: str, name: str) -> Kind | None:
        """Read one object."""
        path = self._layout.object(namespace, kind.PLURAL, name)
        try:
            return kind.model_validate(yaml.load(path.read_bytes(), Loader=SafeLoader))  # noqa: S506
        except FileNotFoundError:
            return None
        except (ValidationError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise Refused(
                f"{path} cannot be understood: {describe(error)}",
                help="it was edited or cut short: put it back as it was, from a copy of the folder",
            ) from error

    def find(self, like: Object) -> Any:
        """Read the object of the same kind and name."""
        return self.read(type(like), like.metadata.namespace, like.metadata.name)

    def list(self, kind: type[Kind], namespace: str) -> Iterator[Kind]:
        """Read all objects of a kind, in order of name."""
        for path in sorted(self._layout.kind(namespace, kind.PLURAL).glob("*.yaml")):
            if found := self.read(kind, namespace, path.stem):
                yield found

    def namespaces(self) -> tuple[str, ...]:
        """Those that anything is in."""
        if not self._layout.objects.is_dir():
            return ()
        return tuple(sorted(one.name for one in self._layout.objects.iterdir()))

    def write(self, thing: Object) -> None:
        """Store an object as it is."""
        meta = thing.metadata
        path = self._layout.object(meta.namespace, thing.PLURAL, meta.name)
        write_whole(path, text_of(thing).encode())

    def apply(self, asked: DataShard | Soup, now: datetime) -> str:
        """Do as `kubectl apply` does.

        Returns:
            `created`, `configured` or `unchanged`.

        Raises:
            StockpotError: As `refuse` does.
        """
        self.refuse(asked)
        meta = asked.metadata
        before = self.find(asked)
        if before is None:
            born = {
                "uid": str(uuid.uuid4()),
                "generation": 1,
                "creation_timestamp": timestamp(now),
                "finalizers": (),
            }
            self.write(asked.model_copy(update={"metadata": meta.model_copy(update=born)}))
            return "created"
        meta = before.metadata.model_copy(
            update={"labels": meta.labels, "annotations": meta.annotations}
        )
        if before.spec == asked.spec and before.metadata == meta:
            return "unchanged"
        if before.spec != asked.spec:
            meta = meta.model_copy(update={"generation": meta.generation + 1})
        self.write(before.model_copy(update={"spec": asked.spec, "metadata": meta}))
        return "configured"

    def refuse(self, asked: DataShard | Soup) -> None:
        """Say why an object cannot be applied, where it cannot.

        Raises:
            Refused: It would change what cannot be changed.
            Waiting: An object of the name is still going.
        """
        before = self.find(asked)
        if before is None:
            return
        if before.metadata.deletion_timestamp:
            raise Waiting(
                f"{asked.kind} {asked.metadata.name} is being deleted",
                help="apply it again when it is gone: stockpot local get shards",
            )
        _refuse_changes(before, asked)

    def delete(self, thing: DataShard | Soup, now: datetime) -> None:
        """Do as `kubectl delete` does: what has a finalizer is marked, and goes later."""
        meta = thing.metadata
        if not meta.finalizers:
            self.remove(thing)
        elif not meta.deletion_timestamp:
            marked = meta.model_copy(update={"deletion_timestamp": timestamp(now)})
            self.write(thing.model_copy(update={"metadata": marked}))

    def remove(self, thing: Object) -> None:
        """Take an object away."""
        meta = thing.metadata
        path = self._layout.object(meta.namespace, thing.PLURAL, meta.name)
        path.unlink(missing_ok=True)

    def soup_keys(self) -> tuple[SoupKey, ...]:
        """Every soup that is there, or that a shard names."""
        keys = set()
        for namespace in self.namespaces():
            keys |= {SoupKey(namespace, soup.metadata.name) for soup in self.list(Soup, namespace)}
            keys |= {
                SoupKey(namespace, data_shard.spec.soup_ref.name)
                for data_shard in self.list(DataShard, namespace)
            }
        return tuple(sorted(keys))


class FolderObjects:
    """The objects of one soup: the port."""

    def __init__(self, folder: ObjectFolder, key: SoupKey) -> None:
        self._folder = folder
        self._key = key

    def read(self, *, fresh: bool = True) -> ObservedObjects:
        """Read the soup and all that belongs to it: a folder has no cache to look past."""
        del fresh
        namespace, name = self._key
        folder = self._folder
        soup = folder.read(Soup, namespace, name)
        uid = soup.metadata.uid if soup else None
        return ObservedObjects(
            soup,
            tuple(s for s in folder.list(DataShard, namespace) if s.spec.soup_ref.name == name),
            tuple(r for r in folder.list(SoupRevision, namespace) if r.spec.soup_ref.uid == uid),
            tuple(
                r for r in folder.list(UnlearningReceipt, namespace) if r.spec.soup_ref.uid == uid
            ),
        )

    def change_soup(self, edit: Callable[[Soup], Soup]) -> None:
        """Replace the soup by what the edit makes of it."""
        self._settle(self._change(Soup, self._key.name, edit))

    def change_shard(self, uid: str, edit: Callable[[DataShard], DataShard]) -> None:
        """Replace a shard by what the edit makes of it; it goes once nothing holds it."""
        for shard in self._folder.list(DataShard, self._key.namespace):
            if shard.metadata.uid == uid:
                self._settle(self._change(DataShard, shard.metadata.name, edit))

    def change_revision(self, name: str, edit: Callable[[SoupRevision], SoupRevision]) -> None:
        """Replace a revision by what the edit makes of it."""
        self._change(SoupRevision, name, edit)

    def create(self, new: SoupRevision | UnlearningReceipt) -> None:
        """Store an object, unless it is there already."""
        there = self._folder.find(new)
        if isinstance(new, UnlearningReceipt) and there and not is_same_receipt(there, new):
            meta = new.metadata.model_copy(update={"name": other_name(new)})
            new = new.model_copy(update={"metadata": meta})
            there = self._folder.find(new)
        if there is None:
            meta = new.metadata.model_copy(update={"uid": str(uuid.uuid4()), "generation": 1})
            self._folder.write(new.model_copy(update={"metadata": meta}))

    def delete_revision(self, name: str) -> None:
        """Remove a revision's object."""
        if found := self._folder.read(SoupRevision, self._key.namespace, name):
            self._folder.remove(found)

    def flush(self) -> None:
        """Nothing waits: each change is written at once."""

    def _settle(self, changed: DataShard | Soup | None) -> None:
        """Let go what is being deleted and what nothing holds."""
        if changed and changed.metadata.deletion_timestamp and not changed.metadata.finalizers:
            self._folder.remove(changed)

    def _change(self, kind: type[Kind], name: str, edit: Callable[[Kind], Kind]) -> Kind | None:
        old = self._folder.read(kind, self._key.namespace, name)
        if old is None:
            return None
        new = edit(old)
        if new != old:
            self._folder.write(new)
        return new


def text_of(thing: Object) -> str:
    """Write an object as a person reads it."""
    return yaml_text(thing.model_dump(mode="json", by_alias=True, exclude_none=True))


def _refuse_changes(before: DataShard | Soup, asked: DataShard | Soup) -> None:
    """Refuse what the API server's CEL rules refuse, with the same advice."""
    for name, field in type(before.spec).model_fields.items():
        rules: Any = field.json_schema_extra or {}  # a callable is never given by our models
        for rule in rules.get("x-kubernetes-validations", ()):
            fixed = rule["rule"] == "self == oldSelf"
            if fixed and getattr(before.spec, name) != getattr(asked.spec, name):
                said, _, advice = rule["message"].partition("; ")
                raise Refused(
                    f"{asked.kind} {asked.metadata.name}: spec.{field.alias or name} {said}",
                    help=advice,
                )
