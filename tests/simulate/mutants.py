"""Mutants: planners that forget one clause of invariants 2 to 4 each, as the histories notice."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from tests.simulate import cluster as simulated
from tests.simulate import records as simulated_records
from tests.simulate import scenarios
from tests.simulate import scenarios_of_records as of_records
from tests.simulate import scenarios_of_settings as of_settings

from stockpot.api.v1alpha1 import Soup
from stockpot.core import (
    checks,
    due_receipts,
    overlaps,
    plan,
    plan_shards,
    soup_deletion,
    soup_readiness,
    unlearning_checks,
)
from stockpot.core import membership as members
from stockpot.core.actions import RecordReceipt
from stockpot.core.blocker import Blocker
from stockpot.core.due_receipts import signed_receipts
from stockpot.core.run_starts import DueReceipt, StartPurge
from stockpot.core.runs import Run
from stockpot.core.shard import Shard
from stockpot.core.stages import CheckInput, Stage, UnlearningCheck
from stockpot.core.unlearning_target import ShardObject, UnlearningTarget
from stockpot.core.world import World
from stockpot.reconcile import apply, run_specs
from stockpot.reconcile.objects import world as world_reader
from stockpot.reconcile.objects.debt import soup_of

Patch = pytest.MonkeyPatch
Mutate = Callable[[Patch], None]
Scenario = Callable[[], None]


def _without(stage: Stage) -> Mutate:
    def mutate(patch: Patch) -> None:
        kept = {key: check for key, check in checks.UNLEARNING.items() if key is not stage}
        patch.setattr(checks, "UNLEARNING", kept)

    return mutate


def _without_holding(patch: Patch) -> None:
    kept = {key: check for key, check in checks.LEARNING.items() if key is not Stage.HELD}
    patch.setattr(checks, "LEARNING", kept)


def _always(thing: type, name: str, answer: Any) -> Mutate:
    """Make a method return the same, whatever its arguments."""
    return lambda patch: patch.setattr(thing, name, lambda *_, **__: answer)


def _any_receipt_frees(patch: Patch) -> None:
    patch.setattr(
        World,
        "receipted",
        property(lambda world: frozenset(receipt.shard for receipt in world.receipts)),
    )


def _nobody_vanishes(patch: Patch) -> None:
    patch.setattr(World, "vanished", property(lambda _: ()))


def _silence_is_innocence(patch: Patch) -> None:
    verified = unlearning_checks.verified

    def mutant(target: UnlearningTarget, inputs: CheckInput) -> Blocker | None:
        heard = tuple(server for server in inputs.world.servers if server.answers)
        silent = frozenset(server.uid for server in inputs.world.servers) | inputs.world.ended
        world = replace(inputs.world, servers=heard, ended=silent)
        return verified(target, replace(inputs, world=world))

    _replace_check(patch, Stage.VERIFIED, mutant)
    _replace_check(patch, Stage.ROLLED_OUT, lambda *_: None)


def _replace_check(patch: Patch, stage: Stage, check: UnlearningCheck) -> None:
    patch.setattr(checks, "UNLEARNING", {**checks.UNLEARNING, stage: check})


def _one_receipt_of_two_is_recorded(patch: Patch) -> None:
    """Record only the last receipt of a sign run; the others count as recorded by their status."""
    record, receipted = apply._record_unlearning, vars(World)["receipted"].func

    def mutant(
        action: Any, soup: Any, observed: Any, world: World, ports: Any, now: datetime
    ) -> None:
        last = max(
            (signed_receipt.sequence for signed_receipt in signed_receipts(world)), default=0
        )
        if isinstance(action, RecordReceipt) and action.sequence < last:
            ports = replace(ports, objects=_WithoutReceipts(ports.objects))
        record(action, soup, observed, world, ports, now)

    patch.setattr(apply, "_record_unlearning", mutant)
    by_status = property(lambda world: receipted(replace(world, namespace_terminates=True)))
    patch.setattr(World, "receipted", by_status)


class _WithoutReceipts:
    """The objects port, but no receipt is ever stored."""

    def __init__(self, objects: Any) -> None:
        self._objects = objects

    def create(self, new: Any) -> None:
        """Store nothing."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objects, name)


def _freed_by_another_receipt(patch: Patch) -> None:
    """Release a shard once the recorded chain is as long as its own receipt's place in it."""
    receipted = unlearning_checks.receipted

    def mutant(target: UnlearningTarget, inputs: CheckInput) -> Blocker | None:
        mine = [
            signed_receipt
            for signed_receipt in signed_receipts(inputs.world)
            if signed_receipt.shard == target.uid
        ]
        if any(
            receipt.is_complete and receipt.sequence <= inputs.world.soup.receipts
            for receipt in mine
        ):
            return None
        return receipted(target, inputs)

    _replace_check(patch, Stage.RECEIPTED, mutant)


def _the_lost_are_not_looked_for(patch: Patch) -> None:
    patch.setattr(world_reader, "lost_targets", lambda *_: ())


def _one_purge_is_enough(patch: Patch) -> None:
    for module in (unlearning_checks, plan, plan_shards):
        patch.setattr(module, "purge_of", lambda shard: StartPurge(shard.uid))
    patch.setattr(due_receipts, "due_receipt", lambda shard, _: DueReceipt(shard.uid))


def _nothing_is_ever_missing(patch: Patch) -> None:
    for module in (unlearning_checks, due_receipts):
        patch.setattr(module, "missing", lambda *_: ())


def _writers_do_not_count(patch: Patch) -> None:
    """Ignore writers before the purge, and in what a receipt lists as missing."""
    _without(Stage.QUIESCED)(patch)
    missing = unlearning_checks.missing
    for module in (unlearning_checks, due_receipts):
        patch.setattr(
            module,
            "missing",
            lambda shard, inputs: tuple(
                line for line in missing(shard, inputs) if not line.startswith("StillWritten")
            ),
        )


def _the_dead_are_members(patch: Patch) -> None:
    admit = members.admit

    def mutant(world: World, now: datetime) -> members.Admission:
        owners = (target.owner for target in world.targets)
        risen = tuple(owner.shard for owner in owners if isinstance(owner, ShardObject))
        return admit(replace(world, shards=(*world.shards, *risen)), now)

    patch.setattr(plan, "admit", mutant)


def _epochs_stand_still(patch: Patch) -> None:
    patch.setattr(World, "next_epoch", property(lambda _: 1))


def _unconfirmed_records_leave(patch: Patch) -> None:
    patch.setattr(Shard, "awaits_found_records", property(lambda _: False))


def _overlaps_are_not_said(patch: Patch) -> None:
    patch.setattr(World, "overlaps", property(lambda _: {}))


def _copies_are_kept(patch: Patch) -> None:
    """Leave out the records that are named, and none of their copies."""

    def mutant(records: Any, names: Any) -> Any:
        return [record for record in records if record.name not in names]

    patch.setattr(simulated_records, "remaining", mutant)


def _unlearned_records_return(patch: Patch) -> None:
    patch.setattr(overlaps, "returning_records", lambda *_: ())


def _what_is_being_unlearned_is_not_looked_up(patch: Patch) -> None:
    patch.setattr(run_specs, "_leaving_records", lambda _: ())


def _the_debt_is_dropped(patch: Patch) -> None:
    """Let a Soup go with its shards, and write nothing of what is owed."""
    written = soup_deletion.plan_let_go

    def mutant(inputs: CheckInput, pending: Any) -> Any:
        owed = tuple(replace(target, is_owed=True) for target in inputs.world.targets)
        return written(replace(inputs, world=replace(inputs.world, targets=owed)), pending)

    patch.setattr(plan, "plan_let_go", mutant)


def _a_debt_is_paid_by_forgetting_it(patch: Patch) -> None:
    """Count what is owed as paid as soon as the Soup is gone."""
    patch.setattr(simulated, "soup_of", lambda debts: _without_lost(soup_of(debts)))


def _without_lost(soup: Soup) -> Soup:
    return soup.model_copy(update={"status": soup.status.model_copy(update={"lost": ()})})


CAUGHT_BY: Mapping[str, Scenario] = {
    "lets a shard leave for records that nobody looked up": of_records.a_record_is_misspelt,
    "purges before the survivors are promoted": scenarios.two_sign_runs_end_out_of_order,
    "purges before the survivors are served": scenarios.two_sign_runs_end_out_of_order,
    "purges before writers have ended": scenarios.a_writer_has_read_the_tombstones,
    "signs though a writer has not ended": scenarios.a_writer_has_read_the_tombstones,
    "never looks for what came back": scenarios.a_writer_resumes_after_the_receipt,
    "believes what comes back from a backup": scenarios.the_store_is_restored_from_a_backup,
    "signs without a purge": scenarios.everything_is_deleted_at_once,
    "signs though servers hold it": scenarios.everything_lags,
    "releases without a receipt": scenarios.everything_is_deleted_at_once,
    "releases with any receipt": scenarios.a_namespace_is_deleted,
    "forgets pods that vanished": scenarios.a_server_is_lost,
    "takes silence for innocence": scenarios.two_sign_runs_end_out_of_order,
    "grants before it is written down": of_records.a_record_is_misspelt,
    "grants what a dead shard is in": of_records.a_record_is_misspelt,
    "does not hold shards": of_records.a_record_is_misspelt,
    "does not look for lost shards": scenarios.a_soup_is_forced_away,
    "never purges twice": scenarios.a_server_is_lost,
    "records one receipt of two": scenarios.everything_is_deleted_at_once,
    "frees a shard by another's receipt": scenarios.two_sign_runs_end_out_of_order,
    "signs that nothing is missing": scenarios.a_server_is_lost,
    "merges dead shards": scenarios.two_sign_runs_end_out_of_order,
    "promotes under an old epoch": of_records.a_record_is_misspelt,
    "says nothing of records that shards share": of_records.two_shards_share_a_record,
    "keeps the copies of a record that leaves": of_records.a_record_is_misspelt,
    "takes records back that were unlearned": (
        of_records.an_unlearned_record_comes_back_in_another_shard
    ),
    "forgets what is only just being unlearned": (
        of_records.an_unlearned_record_comes_back_in_another_shard
    ),
    "drops the debt of a soup": scenarios.a_soup_is_forced_away,
    "counts a debt as paid": scenarios.a_soup_is_forced_away,
    "keeps a Job that was made from other settings": (
        of_settings.a_setting_is_corrected_while_jobs_wait_for_it
    ),
    "keeps a sign run that was made from other settings": (
        of_settings.a_setting_is_corrected_while_a_receipt_waits_for_it
    ),
    "is Ready while it is rolled out": of_settings.a_shard_joins,
    "is Ready without its newcomers": of_settings.a_shard_joins,
    "ends what a deleted Soup serves": of_settings.a_soup_is_deleted_before_its_shards_are,
}
"""The scenario that notices each mutant soonest: it is tried first, and all others follow."""

MUTANTS: Mapping[str, Mutate] = {
    "lets a shard leave for records that nobody looked up": _unconfirmed_records_leave,
    "purges before the survivors are promoted": _without(Stage.EXCLUDED),
    "purges before the survivors are served": _without(Stage.ROLLED_OUT),
    "purges before writers have ended": _without(Stage.QUIESCED),
    "signs though a writer has not ended": _writers_do_not_count,
    "never looks for what came back": lambda patch: patch.setattr(
        plan, "rescan_due_at", lambda *_, **__: None
    ),
    "believes what comes back from a backup": lambda patch: patch.setattr(
        plan, "receipt_chain_diverged", lambda *_: None
    ),
    "signs without a purge": _without(Stage.PURGED),
    "signs though servers hold it": _without(Stage.VERIFIED),
    "releases without a receipt": _without(Stage.RECEIPTED),
    "releases with any receipt": _any_receipt_frees,
    "forgets pods that vanished": _nobody_vanishes,
    "takes silence for innocence": _silence_is_innocence,
    "grants before it is written down": _always(World, "may_be_granted", True),
    "grants what a dead shard is in": _always(World, "is_clean", True),
    "does not hold shards": _without_holding,
    "does not look for lost shards": _the_lost_are_not_looked_for,
    "never purges twice": _one_purge_is_enough,
    "records one receipt of two": _one_receipt_of_two_is_recorded,
    "frees a shard by another's receipt": _freed_by_another_receipt,
    "signs that nothing is missing": _nothing_is_ever_missing,
    "merges dead shards": _the_dead_are_members,
    "promotes under an old epoch": _epochs_stand_still,
    "says nothing of records that shards share": _overlaps_are_not_said,
    "keeps the copies of a record that leaves": _copies_are_kept,
    "takes records back that were unlearned": _unlearned_records_return,
    "forgets what is only just being unlearned": _what_is_being_unlearned_is_not_looked_up,
    "drops the debt of a soup": _the_debt_is_dropped,
    "counts a debt as paid": _a_debt_is_paid_by_forgetting_it,
    "keeps a Job that was made from other settings": lambda patch: patch.setattr(
        Run, "is_cured", False
    ),
    "keeps a sign run that was made from other settings": lambda patch: patch.setattr(
        plan, "is_kept", lambda run, _: run.is_active
    ),
    "is Ready while it is rolled out": lambda patch: patch.setattr(
        plan, "served_as_asked", lambda _: None
    ),
    "is Ready without its newcomers": lambda patch: patch.setattr(
        soup_readiness, "_is_on_its_way", lambda _: False
    ),
    "ends what a deleted Soup serves": lambda patch: patch.setattr(
        world_reader, "_may_go_on", lambda *_: False
    ),
}
