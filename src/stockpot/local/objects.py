"""Objects as YAML files: the port `Objects`, and the operations of kubectl."""

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
    UnlearningDebt,
    UnlearningReceipt,
)
from stockpot.api.writing import yaml_text
from stockpot.errors import Refused, Waiting, describe
from stockpot.local.layout import Layout
from stockpot.reconcile.objects.fields import timestamp
from stockpot.reconcile.objects.receipt import is_same_receipt, other_name
from stockpot.reconcile.ports import ObservedObjects, SoupKey
from stockpot.store.atomic import write_whole

# safe_load, in C: every round reads every object.
SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Object = DataShard | Soup | SoupRevision | UnlearningReceipt
Kind = TypeVar("Kind", DataShard, Soup, SoupRevision, UnlearningReceipt)


class ObjectFolder:
    """All objects of a folder. Only the process that holds the folder's lock may write."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def read(self, kind: type[Kind], namespace: str, name: str) -> Kind | None:
        """Read one object, or return None if it does not exist.

        Raises:
            Refused: Its file is damaged.
        """
        path = self._layout.object(namespace, kind.PLURAL, name)
        try:
            return kind.model_validate(yaml.load(path.read_bytes(), Loader=SafeLoader))  # noqa: S506
        except FileNotFoundError:
            return None
        except (ValidationError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise Refused(
                f"the object in {path} is not valid: {describe(error)}",
                help="the file was edited or truncated: restore it from a copy of the folder",
            ) from error

    def find(self, like: Object) -> Any:
        """Read the stored object of the same kind, namespace and name."""
        return self.read(type(like), like.metadata.namespace, like.metadata.name)

    def list(self, kind: type[Kind], namespace: str) -> Iterator[Kind]:
        """Read all objects of a kind, in order of name."""
        for path in sorted(self._layout.kind(namespace, kind.PLURAL).glob("*.yaml")):
            if thing := self.read(kind, namespace, path.stem):
                yield thing

    def namespaces(self) -> tuple[str, ...]:
        """List the namespaces that have objects, in order of name."""
        if not self._layout.objects.is_dir():
            return ()
        return tuple(sorted(folder.name for folder in self._layout.objects.iterdir()))

    def write(self, thing: Object) -> None:
        """Store an object as it is."""
        meta = thing.metadata
        path = self._layout.object(meta.namespace, thing.PLURAL, meta.name)
        write_whole(path, text_of(thing).encode())

    def apply(self, applied: DataShard | Soup, now: datetime) -> str:
        """Create or update an object, as `kubectl apply` does.

        Returns:
            `created`, `configured` or `unchanged`.

        Raises:
            StockpotError: `refuse` raises it.
        """
        self.refuse(applied)
        meta = applied.metadata
        before = self.find(applied)
        if before is None:
            metadata = {
                "uid": str(uuid.uuid4()),
                "generation": 1,
                "creation_timestamp": timestamp(now),
                "finalizers": (),
            }
            self.write(applied.model_copy(update={"metadata": meta.model_copy(update=metadata)}))
            return "created"
        meta = before.metadata.model_copy(
            update={"labels": meta.labels, "annotations": meta.annotations}
        )
        if before.spec == applied.spec and before.metadata == meta:
            return "unchanged"
        if before.spec != applied.spec:
            meta = meta.model_copy(update={"generation": meta.generation + 1})
        self.write(before.model_copy(update={"spec": applied.spec, "metadata": meta}))
        return "configured"

    def refuse(self, applied: DataShard | Soup) -> None:
        """Raise if an object cannot be applied.

        Raises:
            Refused: It changes an immutable field.
            Waiting: The stored object of its name is being deleted.
        """
        before = self.find(applied)
        if before is None:
            return
        if before.metadata.deletion_timestamp:
            raise Waiting(
                f"{applied.kind} {applied.metadata.name} is being deleted",
                help="wait until it is gone (stockpot local get all), then apply it again",
            )
        _refuse_changes(before, applied)

    def delete(self, thing: DataShard | Soup, now: datetime) -> None:
        """Delete an object, as `kubectl delete` does: one with finalizers is only marked."""
        meta = thing.metadata
        if not meta.finalizers:
            self.remove(thing)
        elif not meta.deletion_timestamp:
            marked = meta.model_copy(update={"deletion_timestamp": timestamp(now)})
            self.write(thing.model_copy(update={"metadata": marked}))

    def remove(self, thing: Object) -> None:
        """Remove an object's file."""
        meta = thing.metadata
        path = self._layout.object(meta.namespace, thing.PLURAL, meta.name)
        path.unlink(missing_ok=True)

    def soup_keys(self) -> tuple[SoupKey, ...]:
        """List every soup that exists or that a shard names."""
        keys = set()
        for namespace in self.namespaces():
            keys |= {SoupKey(namespace, soup.metadata.name) for soup in self.list(Soup, namespace)}
            keys |= {
                SoupKey(namespace, data_shard.spec.soup_ref.name)
                for data_shard in self.list(DataShard, namespace)
            }
        return tuple(sorted(keys))


class FolderObjects:
    """The port `Objects` for one soup."""

    def __init__(self, folder: ObjectFolder, key: SoupKey) -> None:
        self._folder = folder
        self._key = key

    def read(self, *, fresh: bool = True) -> ObservedObjects:
        """Read the soup and its objects. There is no cache, so `fresh` has no effect."""
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
        """Apply an edit to the soup; remove it if it is deleted and has no finalizer left."""
        self._remove_if_released(self._change(Soup, self._key.name, edit))

    def change_shard(self, uid: str, edit: Callable[[DataShard], DataShard]) -> None:
        """Apply an edit to a shard; remove it if it is deleted and has no finalizer left."""
        for shard in self._folder.list(DataShard, self._key.namespace):
            if shard.metadata.uid == uid:
                self._remove_if_released(self._change(DataShard, shard.metadata.name, edit))

    def change_revision(self, name: str, edit: Callable[[SoupRevision], SoupRevision]) -> None:
        """Apply an edit to a revision."""
        self._change(SoupRevision, name, edit)

    def create(self, new: SoupRevision | UnlearningReceipt | UnlearningDebt) -> None:
        """Store an object, unless it exists.

        A receipt whose name another receipt has gets another name. Debts are never created here:
        `read` says that there is no place for them.
        """
        assert not isinstance(new, UnlearningDebt)
        stored = self._folder.find(new)
        if isinstance(new, UnlearningReceipt) and stored and not is_same_receipt(stored, new):
            meta = new.metadata.model_copy(update={"name": other_name(new)})
            new = new.model_copy(update={"metadata": meta})
            stored = self._folder.find(new)
        if stored is None:
            meta = new.metadata.model_copy(update={"uid": str(uuid.uuid4()), "generation": 1})
            self._folder.write(new.model_copy(update={"metadata": meta}))

    def delete_revision(self, name: str) -> None:
        """Remove a revision's object."""
        if revision := self._folder.read(SoupRevision, self._key.namespace, name):
            self._folder.remove(revision)

    def flush(self) -> None:
        """Do nothing: each change is written at once."""

    def _remove_if_released(self, changed: DataShard | Soup | None) -> None:
        """Remove an object that is being deleted and has no finalizer left."""
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
    """Return an object as YAML."""
    return yaml_text(thing.model_dump(mode="json", by_alias=True, exclude_none=True))


def _refuse_changes(before: DataShard | Soup, applied: DataShard | Soup) -> None:
    """Raise for a change that the API server's CEL rules refuse, with the rule's own help."""
    for name, field in type(before.spec).model_fields.items():
        rules: Any = field.json_schema_extra or {}  # a callable is never given by our models
        for rule in rules.get("x-kubernetes-validations", ()):
            fixed = rule["rule"] == "self == oldSelf"
            if fixed and getattr(before.spec, name) != getattr(applied.spec, name):
                why, _, advice = rule["message"].partition("; ")
                raise Refused(
                    f"{applied.kind} {applied.metadata.name}: spec.{field.alias or name} {why}",
                    help=advice,
                )
