"""The port `Environment` on this machine: folders for store and claims, and the server's port."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stockpot.api.namespace_ref import NamespaceRef
from stockpot.api.runspec import Location, Place, StoreRef
from stockpot.api.source import Source
from stockpot.authentication.key_file import new_grant_key, read_grant_signer
from stockpot.authentication.signatures import GrantSigner
from stockpot.errors import Refused, describe
from stockpot.local.layout import Layout
from stockpot.store.atomic import quoted, write_whole
from stockpot.store.outputs import output_file

DEFAULT_PORT = 8000


@dataclass(frozen=True)
class Places:
    """The user's settings of this machine, kept in the folder."""

    claims: dict[str, str] = field(default_factory=dict)
    """The folder to use for each claim, by the claim's name."""
    port: int = DEFAULT_PORT
    """The port that the server listens on."""


def read_places(layout: Layout) -> Places:
    """Read the settings, or the defaults if none were written.

    Raises:
        Refused: The file is damaged.
    """
    try:
        return Places(**json.loads(layout.places.read_bytes()))
    except FileNotFoundError:
        return Places()
    except (ValueError, TypeError) as error:
        raise Refused(
            f"the settings in {layout.places} are not valid: {describe(error)}",
            help="remove the file, then apply again with --claim and --port",
        ) from error


def merged_places(layout: Layout, claims: Mapping[str, Path], port: int | None) -> Places:
    """Return the stored settings with new ones laid over them; nothing is written."""
    before = read_places(layout)
    folders = {name: str(folder.resolve()) for name, folder in claims.items()}
    return Places({**before.claims, **folders}, before.port if port is None else port)


def remember(layout: Layout, claims: Mapping[str, Path], port: int | None) -> Places:
    """Merge new settings into the stored ones; write the file only if they differ."""
    before, now = read_places(layout), merged_places(layout, claims, port)
    if now != before or not layout.places.exists():
        text = json.dumps({"claims": now.claims, "port": now.port}, indent=2, sort_keys=True)
        write_whole(layout.places, text.encode())
    return now


class FolderEnvironment:
    """The environment of local mode: a folder is the store, and a named folder is each claim."""

    def __init__(self, layout: Layout, places: Places) -> None:
        self._layout = layout
        self._places = places

    @property
    def store(self) -> StoreRef:
        """The store inside the folder of local mode."""
        return StoreRef(url=self._layout.store.resolve().as_uri())

    @property
    def signing_key(self) -> str:
        """The path of the key that signs receipts."""
        return str(self._layout.signing_key.resolve())

    @property
    def grant_keys(self) -> tuple[str, ...]:
        """The public key that servers are started with; it is made when first asked for.

        Raises:
            Refused: The key's file is damaged (exit 49).
            Transient: It cannot be written.
        """
        if not self._layout.grant_key.exists():
            with output_file(self._layout.grant_key, mode=0o600, is_new=True) as file:
                file.write(new_grant_key())
        return self.grant_signer.public_keys

    @property
    def grant_signer(self) -> GrantSigner:
        """Signs grants; without signatures before there is a key.

        Raises:
            Refused: The key's file is damaged (exit 49).
        """
        path = self._layout.grant_key
        return read_grant_signer(path) if path.exists() else GrantSigner()

    @property
    def own_folder(self) -> Path:
        """The folder of local mode: objects, runs, store and key."""
        return self._layout.root.resolve()

    @property
    def store_folder(self) -> Path:
        """The store, as a path."""
        return self._layout.store.resolve()

    def namespace(self) -> NamespaceRef:
        """Return the namespace; in local mode it is only a name."""
        return NamespaceRef()

    def locate(self, source: Source) -> Location:
        """Return the location of a source's folder.

        Raises:
            Refused: No folder is set for the claim, or the path leaves it: by `..` or by a link.
        """
        if source.s3:
            return Location(place=Place.STORE, path=source.s3.prefix)
        claim = source.pvc
        if claim is None or claim.claim_name not in self._places.claims:
            name = claim.claim_name if claim else ""
            raise Refused(
                f"no folder is set for the claim {name}",
                help=f"name the folder: stockpot local apply … --claim {quoted(name)}=FOLDER",
            )
        root = Path(self._places.claims[claim.claim_name])
        folder = root / claim.path
        if ".." in folder.parts or not _is_within(folder, root):
            raise Refused(
                f"the path {claim.path} of the claim {claim.claim_name} leads out of {root}",
                help="set path to a folder inside the claim, without .. or links that leave it",
            )
        return Location(place=Place.FOLDER, path=str(root / claim.path))


def _is_within(folder: Path, root: Path) -> bool:
    """Return whether a folder is below another one after links are resolved."""
    try:
        return folder.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # A link that leads to itself.
        return False
