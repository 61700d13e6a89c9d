"""What a check ends with, and what all of them come to. No checking here."""

from enum import StrEnum

from stockpot.api.model import Model
from stockpot.errors import ExitCode


class Verdict(StrEnum):
    """How a check ended, the gravest first."""

    FAILED = "Failed"
    """It is not so; `why` names the cause."""
    NOT_CHECKABLE = "NotCheckable"
    """Nobody can know it from here; `why` says what is lacking."""
    ATTESTED = "Attested"
    """Whoever signed says so; nothing that lies here contradicts it."""
    PROVEN = "Proven"
    """It follows from bytes that were read and computed here."""


class Check(Model):
    """One claim, and whether it is so."""

    about: str
    """What the claim is about: the chain, one receipt, the store, a server."""
    claim: str
    verdict: Verdict
    why: str = ""
    superseded: bool = False
    """A later receipt took its place: it can be checked no more, and need not be."""


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
    """The last receipt that was found, as `--head` takes it."""
    checks: tuple[Check, ...]

    def count(self, verdict: Verdict) -> int:
        """How many checks ended so."""
        return sum(check.verdict is verdict for check in self.checks)

    @property
    def exit_code(self) -> ExitCode:
        """What the process says."""
        if self.count(Verdict.FAILED):
            return ExitCode.DISPROVEN
        open_ones = [check for check in self.checks if check.verdict is Verdict.NOT_CHECKABLE]
        is_done = all(open_one.superseded for open_one in open_ones)
        return ExitCode.OK if is_done else ExitCode.NOT_PROVEN


BEYOND = (
    "copies outside of this store: backups, replicas, the data's own source, logs, time series",
    "what became of bytes that a server had sent to others before",
)
"""What no check here can see, whatever it says."""


def proven(about: str, claim: str, why: str = "") -> Check:
    """It follows from what was read here."""
    return Check(about=about, claim=claim, verdict=Verdict.PROVEN, why=why)


def attested(about: str, claim: str, why: str) -> Check:
    """The signer says so."""
    return Check(about=about, claim=claim, verdict=Verdict.ATTESTED, why=why)


def unknown(about: str, claim: str, why: str) -> Check:
    """Nobody can know from here."""
    return Check(about=about, claim=claim, verdict=Verdict.NOT_CHECKABLE, why=why)


def failed(about: str, claim: str, why: str) -> Check:
    """It is not so."""
    return Check(about=about, claim=claim, verdict=Verdict.FAILED, why=why)
