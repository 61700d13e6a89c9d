"""What can go wrong here, in one sentence and with what to do about it."""

INSTEAD = (
    "`make demo-local` tells the same story without a cluster, and "
    "`make demo CONTEXT=name` uses one of yours"
)


class Problem(Exception):
    """Something that a person has to know: what happened, and what to do."""

    def __init__(self, message: str, *, help: str = INSTEAD) -> None:  # noqa: A002
        super().__init__(message)
        self.message = message
        self.help = help

    def __str__(self) -> str:
        return f"{self.message}\n  help: {self.help}" if self.help else self.message
