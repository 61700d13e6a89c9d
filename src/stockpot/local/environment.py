"""Where things are on this machine: the port `Environment`, in a folder."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stockpot.api.runspec import Location, Place, StoreRef
from stockpot.api.source import Source
from stockpot.errors import Refused, describe
from stockpot.local.layout import Layout
from stockpot.store.atomic import quoted, write_whole

DEFAULT_PORT = 8000


@dataclass(frozen=True)
class Places:
    """What the user said of this machine; remembered in the folder."""

    claims: dict[str, str] = field(default_factory=dict)
    """For the name of each claim, the folder that stands for it."""
    port: int = DEFAULT_PORT
    """Where the server answers."""


def read_places(layout: Layout) -> Places:
    """Read what was said before."""
    try:
        return Places(**json.loads(layout.places.read_bytes()))
    except FileNotFoundError:
        return Places()
    except (ValueError, TypeError) as error:
        raise Refused(
            f"{layout.places} cannot be understood: {describe(error)}",
            help="remove it, and name claims and port again",
        ) from error


def with_told(layout: Layout, claims: Mapping[str, Path], port: int | None) -> Places:
    """Add what is said now to what was said before; nothing is written."""
    before = read_places(layout)
    told = {name: str(folder.resolve()) for name, folder in claims.items()}
    return Places({**before.claims, **told}, before.port if port is None else port)


def remember(layout: Layout, claims: Mapping[str, Path], port: int | None) -> Places:
    """Add to what was said before; write only what is new."""
    before, now = read_places(layout), with_told(layout, claims, port)
    if now != before or not layout.places.exists():
        text = json.dumps({"claims": now.claims, "port": now.port}, indent=2, sort_keys=True)
        write_whole(layout.places, text.encode())
    return now


class FolderEnvironment:
    """The store is a folder, and a claim is a folder that the user named."""

    def __init__(self, layout: Layout, places: Places) -> None:
        self._layout = layout
        self._places = places

    @property
    def store(self) -> StoreRef:
        """The folder's own store."""
        return StoreRef(url=self._layout.store.resolve().as_uri())

    @property
    def signing_key(self) -> str:
        """Where `stockpot keygen` is told to put it."""
        return str(self._layout.signing_key.resolve())

    @property
    def own_folder(self) -> Path:
        """The folder that everything is kept in."""
        return self._layout.root.resolve()

    @property
    def store_folder(self) -> Path:
        """The folder's own store, as a path."""
        return self._layout.store.resolve()

    def locate(self, source: Source) -> Location:
        """Say where a source's folder is.

        Raises:
            Refused: Its claim is not known, or its path leaves the claim: by `..`, or by a link.
        """
        if source.s3:
            return Location(place=Place.STORE, path=source.s3.prefix)
        claim = source.pvc
        if claim is None or claim.claim_name not in self._places.claims:
            name = claim.claim_name if claim else ""
            raise Refused(
                f"no folder is known for the claim {name}",
                help=f"say which it is: stockpot local apply … --claim {quoted(name)}=FOLDER",
            )
        root = Path(self._places.claims[claim.claim_name])
        folder = root / claim.path
        if ".." in folder.parts or not _is_within(folder, root):
            raise Refused(
                f"the path {claim.path} of the claim {claim.claim_name} leads out of {root}",
                help="path may not leave the claim: name a folder below its root, without .. and "
                "links to elsewhere",
            )
        return Location(place=Place.FOLDER, path=str(root / claim.path))


def _is_within(folder: Path, root: Path) -> bool:
    """Whether a folder is below another one, wherever links lead."""
    try:
        return folder.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # A link that leads to itself.
        return False
