"""Where things are, as the admin declared it: the port `Environment`, on a cluster."""

from collections.abc import Callable

from stockpot.api.runspec import Location, StoreRef
from stockpot.api.source import Source
from stockpot.cluster.apiserver.settings import OperatorSettings
from stockpot.cluster.manifests import volumes
from stockpot.cluster.manifests.pods import signing_key_path
from stockpot.errors import Refused


class StoreNotDeclared(Refused):
    """A soup names a store that the admin did not declare."""


class ClusterEnvironment:
    """The stores of the settings, and claims as pods mount them."""

    def __init__(self, settings: OperatorSettings, store_name: Callable[[], str]) -> None:
        self._settings = settings
        self._store_name = store_name

    @property
    def store(self) -> StoreRef:
        """The store that the soup names.

        Raises:
            StoreNotDeclared: There is none of the name.
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
        """Where a sign run finds the key."""
        return signing_key_path(self._settings)

    def locate(self, source: Source) -> Location:
        """Say where a run sees a source."""
        return volumes.locate(source)
