"""The attempts at one run: which counts, why it failed, and when the next one is due."""

from collections.abc import Mapping
from datetime import datetime

from stockpot.api.conditions import Reason
from stockpot.api.run_kinds import RunKind
from stockpot.core.actions import Action, EndRun
from stockpot.core.blocker import Blocker
from stockpot.core.retry import due_at, gives_up, is_due
from stockpot.core.run_starts import Start, attempt_of, is_attempt_at, next_attempt
from stockpot.core.runs import Run, StartupBlocker
from stockpot.core.world import World
from stockpot.errors import ExitCode


def last_attempt(start: Start, world: World) -> Run | None:
    """Return the newest attempt at a run, whatever its result."""
    runs = attempts_at(start, world)
    return runs[-1] if runs else None


def attempt_number(run: Run) -> int:
    """Return the number of an attempt, which its name ends with; the first is 1."""
    number = run.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else 1


def attempts_at(start: Start, world: World) -> tuple[Run, ...]:
    """Return all attempts at a run, the oldest first."""
    known = world.attempts.get(start.stem, ())
    return tuple(run for _, run in known if is_attempt_at(run, start))


def failed(start: Start, world: World, reason: Reason, what: str) -> Blocker | None:
    """Return how the last attempt failed and when it is retried, or what blocks its start."""
    run = last_attempt(start, world)
    return failed_run(run, world, reason, what, is_owed=start.is_owed) if run else None


def failed_run(
    run: Run, world: World, reason: Reason, what: str, *, is_owed: bool
) -> Blocker | None:
    """Return how a run failed and when it is retried, or what blocks its start.

    Args:
        run: One attempt.
        world: The observed world.
        reason: Reason of the condition, where the exit code has none of its own.
        what: The subject of the message, as `the receipt of dogs`.
        is_owed: An unlearning needs the run, so it is retried without a limit.

    Returns:
        None where it did not fail and nothing blocks it.
    """
    if run.is_active and run.startup_blocker:
        return startup_blocked(run.startup_blocker, what)
    if run.failure is None:
        return None
    failure, tries = run.failure, counted_attempts(run, world)
    if tries == 0:
        return None  # The next attempt is about to start.
    times = "" if failure.is_final or tries == 1 else f" {tries} times"
    ends = gives_up(failure, tries, world.soup.max_attempts, is_owed=is_owed)
    due = None if ends else due_at(failure, tries)
    if not ends and due is None:
        return None
    again = f"; it is tried again at {due:%H:%M:%S} UTC" if due else ""
    return Blocker(
        REASONS.get(failure.exit_code or 0, reason),
        f"{what} failed{times}: {failure.message}{again}",
        (failure.help or f"see the log of {run.name}")
        + (_retry_command(run, world) if ends else ""),
        needs_person=ends or failure.is_final,
        wake_at=due,
    )


def counted_attempts(run: Run, world: World) -> int:
    """Return how many attempts count against `maxAttempts`, up to and with a failed one.

    Attempts count anew from a person's request to retry. Those that lacked what a setting has given
    since do not count. 0: the next attempt is due now.
    """
    if run.is_cured:
        return 0
    number, retried = attempt_number(run), world.retried.get(run.stem, 0)
    cured = sum(
        1
        for tried, other in world.attempts.get(run.stem, ())
        if retried < tried < number and other.is_cured
    )
    return max(0, number - retried - cured)


def _retry_command(run: Run, world: World) -> str:
    """Return the command that asks for another attempt; in local mode any `apply` does."""
    if run.failure is None or run.failure.at is None:
        return ""
    if run.kind in {RunKind.MERGE, RunKind.EVALUATE}:
        return f"; then: stockpot retry soup/{world.soup.name}"
    name = next((world.names[uid] for uid in run.about if uid in world.names), "")
    return f"; then: stockpot retry shard/{name}" if name else ""


def startup_blocked(startup_blocker: StartupBlocker, what: str) -> Blocker:
    """Return what keeps a run or server from starting, though it has not failed."""
    message = f"{what} waits: {startup_blocker.message}"
    reason = startup_blocker.reason
    # A queue admits it by itself.
    return Blocker(reason, message, startup_blocker.help, needs_person=reason is not Reason.QUEUED)


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
    ExitCode.OTHER_NAMESPACE: Reason.OTHER_NAMESPACE,
}


def start_once(start: Start, world: World, now: datetime) -> tuple[Action, ...]:
    """Start a run unless it runs or has ended; retry a failed one when its retry is due.

    A run that waits for what a setting has given since is ended, so that it starts with that.
    """
    run = last_attempt(start, world)
    if run is None:
        return (start,)
    if run.is_active and run.is_cured:
        return (EndRun(run.name),)  # It starts again as soon as it has ended.
    if run.failure is None:
        return ()
    again = next_attempt(start, attempt_of(run.name, start) + 1)
    tries = counted_attempts(run, world)
    if tries == 0:
        return (again,)
    if gives_up(run.failure, tries, world.soup.max_attempts, is_owed=start.is_owed):
        return ()
    due = due_at(run.failure, tries)
    return (again,) if due is None or is_due(due, now) else ()


def retry_at(start: Start, world: World) -> datetime | None:
    """Return when time alone makes the next attempt of a failed run due; None where it does not."""
    run = last_attempt(start, world)
    if run is None or run.failure is None:
        return None
    tries = counted_attempts(run, world)
    owed, most = start.is_owed, world.soup.max_attempts
    if tries == 0 or gives_up(run.failure, tries, most, is_owed=owed):
        return None
    return due_at(run.failure, tries)


def attempts_so_far(start: Start, world: World) -> int:
    """Return the number of the last attempt; 0 where there is none."""
    run = last_attempt(start, world)
    return attempt_of(run.name, start) if run else 0
