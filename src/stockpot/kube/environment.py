"""The port `Environment` on a cluster: stores and claims, as the admin declared them."""

from collections.abc import Callable

from stockpot.api.namespace_ref import NamespaceRef
from stockpot.api.runspec import Location, StoreRef
from stockpot.api.source import Source
from stockpot.api.v1alpha1.common import ADOPT_STORE
from stockpot.cluster.apiserver.objects import Json, annotations_on, uid_of
from stockpot.cluster.apiserver.settings import OperatorSettings
from stockpot.cluster.manifests import volumes
from stockpot.cluster.manifests.pods import signing_key_path
from stockpot.errors import Refused


class StoreNotDeclared(Refused):
    """A soup names a store that the admin did not declare."""


class ClusterEnvironment:
    """Resolves stores from the settings, and claims to the paths at which pods mount them."""

    def __init__(
        self,
        settings: OperatorSettings,
        store_name: Callable[[], str],
        grant_keys: Callable[[], tuple[str, ...]],
        namespace: Callable[[], Json | None],
    ) -> None:
        """Prepare to resolve; nothing is read yet.

        Args:
            settings: What the admin declared.
            store_name: Reads the name of the store that the soup names.
            grant_keys: Reads the public keys that servers are started with.
            namespace: Reads the object of the soup's namespace.
        """
        self._settings = settings
        self._store_name = store_name
        self._grant_keys = grant_keys
        self._namespace = namespace

    @property
    def store(self) -> StoreRef:
        """The store that the soup names.

        Raises:
            StoreNotDeclared: No store has that name.
        """
        name, stores = self._store_name(), self._settings.stores
        if name not in stores:
            raise StoreNotDeclared(
                f"no store is called {name}",
                help=f"name one of {', '.join(sorted(stores))}, or have it declared among the "
                "chart's stores",
            )
        return StoreRef(url=stores[name].url, endpoint=stores[name].endpoint)

    @property
    def signing_key(self) -> str:
        """Path at which a sign run reads the key."""
        return signing_key_path(self._settings)

    @property
    def grant_keys(self) -> tuple[str, ...]:
        """The public keys that servers are started with."""
        return self._grant_keys()

    def namespace(self) -> NamespaceRef:
        """Return the namespace's UID, and which former one's objects an admin handed over to it."""
        namespace = self._namespace()
        if namespace is None:
            return NamespaceRef()  # It was deleted meanwhile, and its runs with it.
        adopts = annotations_on(namespace).get(ADOPT_STORE, "")
        return NamespaceRef(uid=uid_of(namespace), adopts=adopts)

    def locate(self, source: Source) -> Location:
        """Return the location at which a run reads a source."""
        return volumes.locate(source)
