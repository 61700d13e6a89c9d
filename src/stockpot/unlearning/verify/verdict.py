"""The results of checks: a verdict for each claim, and the report of all."""

from enum import StrEnum

from stockpot.api.model import Model
from stockpot.errors import ExitCode


class Verdict(StrEnum):
    """The result of a check, the gravest first."""

    FAILED = "Failed"
    """The claim is false; `why` names the cause."""
    NOT_CHECKABLE = "NotCheckable"
    """The claim cannot be checked from here; `why` says what is missing."""
    ATTESTED = "Attested"
    """The signer says so, and nothing in the store contradicts it."""
    PROVEN = "Proven"
    """The claim follows from bytes that were read and computed here."""


class Check(Model):
    """One claim, and whether it is true."""

    about: str
    """What the claim is about: the chain, one receipt, the store, a server."""
    claim: str
    verdict: Verdict
    why: str = ""
    superseded: bool = False
    """A later receipt replaced it: it can no longer be checked, and need not be."""


class Report(Model):
    """Everything that was checked of one soup."""

    version: int = 1
    store: str
    soup: str
    """Its UID."""
    key: str
    """The name of the public key that was trusted, as envelopes have it."""
    keys: tuple[str, ...] = ()
    """The names of all keys that signed, in order: rotations lead from one to the next."""
    receipts: int
    head: str = ""
    """The chain's last entry, in the format of `--head`."""
    checks: tuple[Check, ...]

    def count(self, verdict: Verdict) -> int:
        """Count the checks with a verdict."""
        return sum(check.verdict is verdict for check in self.checks)

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of the command."""
        if self.count(Verdict.FAILED):
            return ExitCode.DISPROVEN
        open_ones = [check for check in self.checks if check.verdict is Verdict.NOT_CHECKABLE]
        is_done = all(open_one.superseded for open_one in open_ones)
        return ExitCode.OK if is_done else ExitCode.NOT_PROVEN


BEYOND = (
    "copies outside of this store: backups, replicas, the data's own source, logs, time series",
    "what became of bytes that a server had sent to others before",
)
"""What no check can see, whatever its verdict."""


def proven(about: str, claim: str, why: str = "") -> Check:
    """Make a check whose claim follows from bytes that were read here."""
    return Check(about=about, claim=claim, verdict=Verdict.PROVEN, why=why)


def attested(about: str, claim: str, why: str) -> Check:
    """Make a check whose claim only the signer states."""
    return Check(about=about, claim=claim, verdict=Verdict.ATTESTED, why=why)


def unknown(about: str, claim: str, why: str) -> Check:
    """Make a check whose claim cannot be checked from here."""
    return Check(about=about, claim=claim, verdict=Verdict.NOT_CHECKABLE, why=why)


def failed(about: str, claim: str, why: str) -> Check:
    """Make a check whose claim is false."""
    return Check(about=about, claim=claim, verdict=Verdict.FAILED, why=why)
