"""How a run went that was asked for: which attempt counts, why it failed, what keeps it waiting."""

from collections.abc import Mapping

from stockpot.api.conditions import Reason
from stockpot.core.actions import Start, is_attempt_at
from stockpot.core.blocker import Blocker
from stockpot.core.retry import due_at, gives_up
from stockpot.core.world import Run, StartupBlocker, World
from stockpot.errors import ExitCode


def last_attempt(start: Start, world: World) -> Run | None:
    """The newest run of that stem, however it went."""
    runs = attempts_at(start, world)
    return runs[-1] if runs else None


def attempt_number(run: Run) -> int:
    """Return which attempt a run is, as its name says; they count from 1."""
    number = run.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else 1


def attempts_at(start: Start, world: World) -> tuple[Run, ...]:
    """All runs of that, the oldest first."""
    known = world.attempts.get(start.stem, ())
    return tuple(run for _, run in known if is_attempt_at(run, start))


def failed(start: Start, world: World, reason: Reason, what: str) -> Blocker | None:
    """Say how it failed and when it is tried again, if ever; or what keeps it from going on."""
    run = last_attempt(start, world)
    return failed_run(run, world, reason, what, is_owed=start.is_owed) if run else None


def failed_run(
    run: Run, world: World, reason: Reason, what: str, *, is_owed: bool
) -> Blocker | None:
    """Say how a run failed and when it is tried again, or what keeps it from going on.

    Args:
        run: One attempt.
        world: As it was seen.
        reason: Reason of the condition, where the exit code does not say a better one.
        what: The subject of the message, as `the receipt of dogs`.
        is_owed: A deletion needs it, so that it is never given up.

    Returns:
        None where it did not fail and nothing keeps it from going on.
    """
    if run.is_active and run.hindrance:
        return hindered(run.hindrance, what)
    if run.failure is None:
        return None
    failure, tries = run.failure, attempt_number(run)
    times = "" if failure.is_final or tries == 1 else f" {tries} times"
    ends = gives_up(failure, tries, world.soup.max_attempts, is_owed=is_owed)
    due = None if ends else due_at(failure, tries)
    if not ends and due is None:
        return None
    again = f"; it is tried again at {due:%H:%M:%S} UTC" if due else ""
    return Blocker(
        REASONS.get(failure.exit_code or 0, reason),
        f"{what} failed{times}: {failure.message}{again}",
        failure.help or f"see the log of {run.name}",
        needs_person=ends or failure.is_final,
        wake_at=due,
    )


def hindered(hindrance: StartupBlocker, what: str) -> Blocker:
    """Say what keeps something from going on, though it has not failed."""
    said = f"{what} waits: {hindrance.message}"
    return Blocker(hindrance.reason, said, hindrance.help, needs_person=True)


REASONS: Mapping[int, Reason] = {
    ExitCode.STORAGE: Reason.STORAGE_UNAVAILABLE,
    ExitCode.BAD_DATA: Reason.BAD_DATA,
    ExitCode.WRONG_DIGEST: Reason.WRONG_DIGEST,
    ExitCode.DIVERGED: Reason.DIVERGED,
    ExitCode.BAD_BASE: Reason.BAD_BASE,
    ExitCode.NO_SIGNING_KEY: Reason.NO_SIGNING_KEY,
    ExitCode.FORGOTTEN: Reason.FORGOTTEN,
    ExitCode.BAD_RUN_SPEC: Reason.BAD_RUN_SPEC,
    ExitCode.BAD_WEIGHTS: Reason.BAD_WEIGHTS,
}
