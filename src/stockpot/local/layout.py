"""Where local mode keeps what. Pure but for joining paths.

<folder>/
    lock                      who works on it
    places.json               folders that stand for claims; the server's port
    reported-omissions.json   what was already printed about data that is not used as given
    objects/<namespace>/<plural>/<name>.yaml
    runs/<namespace>.<soup>/<run>/   spec.json lineage.json result.json log.txt lock work/
    servers/<namespace>.<soup>/      the same, of the server
    store/                    an object store
    signing-key.pem           made by `stockpot keygen`
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """The paths of one folder."""

    root: Path

    @property
    def lock(self) -> Path:
        """Held by whoever works on the folder."""
        return self.root / "lock"

    @property
    def places(self) -> Path:
        """What the user said of this machine."""
        return self.root / "places.json"

    @property
    def reported_omissions(self) -> Path:
        """The omissions of each shard's data, as last printed."""
        return self.root / "reported-omissions.json"

    @property
    def store(self) -> Path:
        """The object store."""
        return self.root / "store"

    @property
    def signing_key(self) -> Path:
        """The key that receipts are signed with."""
        return self.root / "signing-key.pem"

    @property
    def objects(self) -> Path:
        """All objects."""
        return self.root / "objects"

    def kind(self, namespace: str, plural: str) -> Path:
        """The objects of one kind."""
        return self.objects / namespace / plural

    def object(self, namespace: str, plural: str, name: str) -> Path:
        """One object."""
        return self.kind(namespace, plural) / f"{name}.yaml"

    def runs(self, namespace: str, soup: str) -> Path:
        """The runs of one soup."""
        return self.root / "runs" / f"{namespace}.{soup}"

    def server(self, namespace: str, soup: str) -> Path:
        """The server of one soup."""
        return self.root / "servers" / f"{namespace}.{soup}"
