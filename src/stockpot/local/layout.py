"""The paths of local mode's files. Nothing is read or written here.

<folder>/
    lock                      held by the process that uses the folder
    places.json               the folder of each claim; the server's port
    reported-omissions.json   the omissions of each shard's data, as last printed
    objects/<namespace>/<plural>/<name>.yaml
    runs/<namespace>.<soup>/<run>/   spec.json lineage.json result.json log.txt lock work/
    servers/<namespace>.<soup>/      the same files, for the server
    store/                    an object store
    signing-key.pem           made by `stockpot keygen`
    grant-key.pem             signs grants; made with the first server
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """The paths in one folder of local mode."""

    root: Path

    @property
    def lock(self) -> Path:
        """Locked by the process that uses the folder."""
        return self.root / "lock"

    @property
    def places(self) -> Path:
        """The user's settings of this machine."""
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
    def grant_key(self) -> Path:
        """The key that grants are signed with."""
        return self.root / "grant-key.pem"

    @property
    def objects(self) -> Path:
        """The folder of all objects."""
        return self.root / "objects"

    def kind(self, namespace: str, plural: str) -> Path:
        """The folder of the objects of one kind."""
        return self.objects / namespace / plural

    def object(self, namespace: str, plural: str, name: str) -> Path:
        """The file of one object."""
        return self.kind(namespace, plural) / f"{name}.yaml"

    def runs(self, namespace: str, soup: str) -> Path:
        """The folder of one soup's runs."""
        return self.root / "runs" / f"{namespace}.{soup}"

    def server(self, namespace: str, soup: str) -> Path:
        """The folder of one soup's server."""
        return self.root / "servers" / f"{namespace}.{soup}"
