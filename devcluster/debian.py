"""The few programs that come from the machine's own packages, and how to get them."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from devcluster.places import cache
from devcluster.problem import INSTEAD, Problem
from devcluster.progress_log import run, say, step

SEARCHED = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"


@dataclass(frozen=True)
class Package:
    """A Debian package, and something of it by which it is known to be there."""

    name: str
    proof: str
    """A program, or a file by its whole path."""

    def there(self) -> bool:
        """Return whether the package is installed, by apt or otherwise."""
        if self.proof.startswith("/"):
            return Path(self.proof).exists()
        return shutil.which(self.proof, path=SEARCHED) is not None


TO_BUILD = (
    Package("gcc", "gcc"),
    Package("libc6-dev", "/usr/include/stdio.h"),
    Package("libseccomp-dev", "/usr/include/seccomp.h"),
    Package("pkg-config", "pkg-config"),
)
TO_RUN = (
    Package("nftables", "nft"),
    Package("iproute2", "ip"),
    Package("util-linux", "nsenter"),
    Package("mount", "mount"),
    Package("kmod", "modprobe"),
)
TO_MAKE_IMAGES = (Package("debootstrap", "debootstrap"),)


def provide(*packages: Package) -> None:
    """Install what is missing; say first what that is.

    Raises:
        Problem: It cannot be installed here.
    """
    missing = [package.name for package in packages if not package.there()]
    if not missing:
        return
    named = " ".join(missing)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise Problem(
            f"the built-in cluster needs these Debian packages, which are not here: {named}",
            help=f"as root: apt-get install {named}; or {INSTEAD}",
        )
    say(f"installing these Debian packages, which the cluster needs: {named}")
    log = cache() / "devcluster-packages.log"
    failed = f"the Debian packages {named} could not be installed"
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    with step("installing Debian packages", eta_s=30):
        run(["apt-get", "update", "-q"], log=log, failed=failed, environment=quiet)
        install = ["apt-get", "install", "-q", "--yes", "--no-install-recommends", *missing]
        run(install, log=log, failed=failed, environment=quiet)
