"""A shard that lives: held, trained, included, served. Nothing here looks at a file.

Invariant 5.
"""

from dataclasses import replace
from datetime import timedelta

from tests.spec.vocabulary import *


def training(name: str, attempt: int = 1) -> StartTraining:
    return StartTraining(uid(name), a_shard(name).shard.request, attempt)


def why(world, name: str) -> Reason:  # type: ignore[no-untyped-def]
    pending = check(world, NOON).pending[uid(name)]
    assert pending is not None
    return pending.blocker.reason


def test_a_new_shard_is_held_before_anything_of_it_is_made() -> None:
    world = a_world(a_soup().of(), a_shard("cats").not_held())

    assert actions_for(world) == (HoldShard(uid("cats")),)


def test_a_held_shard_is_trained_once() -> None:
    assert actions_for(a_world(a_soup().of(), a_shard("cats"))) == (training("cats"),)
    assert actions_for(a_world(a_soup().of(), a_shard("cats"), a_run(training("cats")))) == ()


def test_only_so_many_train_at_once() -> None:
    soup = a_soup().of().with_fields(parallelism=2)
    world = a_world(
        soup, a_shard("ants"), a_shard("bees"), a_shard("cats"), a_run(training("bees"))
    )

    assert actions_for(world) == (training("ants"),)


def test_a_shard_without_a_training_slot_is_queued() -> None:
    soup = a_soup().of().with_fields(parallelism=1)
    world = a_world(soup, a_shard("ants"), a_shard("bees"), a_run(training("bees")))

    assert why(world, "ants") == Reason.QUEUED
    assert why(world, "bees") == Reason.TRAINING
    assert actions_for(world) == ()


def test_what_a_training_came_to_is_written_down() -> None:
    run = ended(
        training("cats"),
        training_key=key("cats"),
        weights_digest=weights("cats"),
        base_digest=BASE,
        data_digest=key("data"),
        records=7,
    )
    world = a_world(a_soup().of(), a_shard("cats"), run)

    [action] = actions_for(world)

    assert isinstance(action, RecordIngredient)
    assert (action.trained.key, action.trained.records) == (key("cats"), 7)


def test_omitted_data_is_recorded_and_named_in_the_condition() -> None:
    omissions = (
        Omission(reason="CorruptPicture", count=5, examples=("a.png (it is empty)", "b.png")),
        Omission(reason="CutCaption", count=1, examples=("c.png (90 tokens, of which 77)",)),
        Omission(reason="OtherFile", count=7, examples=("README.md",)),
        Omission(reason="NewerReason", count=1),
    )
    run = ended(
        training("cats"),
        training_key=key("cats"),
        weights_digest=weights("cats"),
        omissions=omissions,
        base_digest=BASE,
        data_digest=key("data"),
    )

    [action] = actions_for(a_world(a_soup().of(), a_shard("cats"), run))
    assert isinstance(action, RecordIngredient)
    shard = a_shard("cats").with_fields(trained=action.trained)
    [report] = report_of(check(a_world(a_soup().of(), shard), NOON)).shards

    [trained] = [update for update in report.conditions if update.type is ConditionType.TRAINED]
    assert trained.so
    assert trained.message == (
        "not used as given: pictures that cannot be decoded, left out: 5 (a.png (it is empty), "
        "b.png, …); captions longer than the text encoder reads, cut at their end: 1 "
        "(c.png (90 tokens, of which 77)); NewerReason: 1"
    )


def test_a_training_that_was_killed_is_tried_again_and_not_for_ever() -> None:
    tries = [broken(training("cats", n), None) for n in (1, 2, 3)]

    once = a_world(a_soup().of(), a_shard("cats"), tries[0])
    thrice = a_world(a_soup().of(), a_shard("cats"), *tries)

    assert actions_for(once) == (training("cats", 2),)
    assert actions_for(thrice) == ()
    assert why(thrice, "cats") is Reason.TRAINING_FAILED


def test_bad_data_is_not_tried_again_and_the_shard_says_so() -> None:
    run = broken(training("cats"), 42, "cats has no captions")
    world = a_world(a_soup().of(), a_shard("cats"), run)

    pending = check(world, NOON).pending[uid("cats")]

    assert actions_for(world) == ()
    assert pending is not None
    assert pending.blocker.needs_person
    assert "cats has no captions" in pending.blocker.message
    assert pending.blocker.help == "do better"


def test_a_new_ready_shard_causes_one_merge_with_all_ready_shards() -> None:
    world = a_world(a_soup().of("cats"), a_shard("cats").trained(), a_shard("dogs").trained())

    assert actions_for(world) == (StartMerge(a_recipe("cats", "dogs")),)


def test_a_merged_revision_is_written_down_then_promoted_above_every_epoch() -> None:
    merge = StartMerge(a_recipe("cats"))
    run = ended(
        merge,
        weights_digest=a_revision("cats").weights,
        base_digest=BASE,
        size_bytes=9,
        way="Incremental",
        read_bytes=12,
    )
    shard = a_shard("cats").trained()
    server = a_server().of(epoch=7)

    merged = a_world(a_soup().of(epoch=3), shard, server, run)
    known = a_world(a_soup().of(epoch=3).having_made("cats"), shard, server)

    assert RecordRevision(a_revision("cats"), BASE, 9, "Incremental", 12) in actions_for(merged)
    assert Promote(Promotion(a_revision("cats"), Epoch(8), 1)) in actions_for(known)


def test_a_soup_that_returns_to_earlier_members_is_found_and_not_merged_again() -> None:
    soup = a_soup().having_made("cats").of("cats", "dogs", epoch=4)
    world = a_world(soup, a_shard("cats").trained(), a_shard("dogs").trained().set_aside())

    [action] = actions_for(world)

    assert action == Promote(Promotion(a_revision("cats"), Epoch(5), 2))


def test_a_server_prepares_a_revision_before_it_commits() -> None:
    soup = a_soup().of("cats", epoch=2)
    promotion = soup.soup.current
    assert promotion is not None
    shard = a_shard("cats").trained()

    fresh = a_world(soup, shard, a_server().of(epoch=1))
    ready = a_world(soup, shard, a_server().of(epoch=1).prepared("cats", epoch=2))
    done = a_world(soup, shard, a_server().of("cats", epoch=2))

    assert actions_for(fresh) == (Prepare("pets-1", "boot of pets-1", promotion),)
    assert actions_for(ready) == (Commit("pets-1", "boot of pets-1", promotion),)
    assert actions_for(done) == ()


def test_a_settled_world_asks_for_nothing() -> None:
    world = a_world(
        a_soup().of("cats", "dogs"),
        a_shard("cats").trained(),
        a_shard("dogs").trained(),
        a_server().of("cats", "dogs"),
    )

    assert actions_for(world) == ()


def test_the_base_is_served_until_there_is_a_soup() -> None:
    world = a_world(a_soup(), a_shard("cats"))

    assert StartMerge(Recipe()) in actions_for(world)


def test_additions_wait_for_as_many_shards_as_the_soup_wants() -> None:
    soup = a_soup().of().with_fields(min_shards=2)
    world = a_world(soup, a_shard("cats").trained())

    assert actions_for(world) == ()
    assert why(world, "cats") is Reason.HELD_BY_MIN_SHARDS


def test_additions_wait_until_no_other_has_followed_for_a_while() -> None:
    soup = a_soup().of().with_fields(settle_s=10)
    world = a_world(soup, a_shard("cats").trained(at=NOON - timedelta(seconds=4)))
    assessment = check(world, NOON)

    assert actions_for(world) == ()
    assert assessment.inputs.admission.wake_at == NOON + timedelta(seconds=6)
    assert actions_for(world, NOON + timedelta(seconds=6)) == (StartMerge(a_recipe("cats")),)


def test_a_suspended_soup_trains_and_adds_nothing() -> None:
    soup = a_soup().of("cats").with_fields(suspended=True)
    world = a_world(soup, a_shard("cats").trained(), a_shard("dogs").trained(), a_shard("eels"))

    assert actions_for(world) == ()
    assert why(world, "dogs") is Reason.HELD_BY_SUSPEND
    assert why(world, "eels") is Reason.HELD_BY_SUSPEND


def test_a_shard_that_is_set_aside_leaves_the_soup_and_keeps_its_ingredient() -> None:
    world = a_world(
        a_soup().of("cats", "dogs"),
        a_shard("cats").trained(),
        a_shard("dogs").trained().set_aside(),
    )

    assert actions_for(world) == (StartMerge(a_recipe("cats")),)


def test_weights_count_only_in_proportion() -> None:
    def recipe(*weights: str) -> Recipe:
        world = a_world(
            a_soup().of(),
            a_shard("cats").trained().weighing(weights[0]),
            a_shard("dogs").trained().weighing(weights[1]),
        )
        recipe = check(world, NOON).inputs.recipe
        assert isinstance(recipe, Recipe)
        return recipe

    assert recipe("0.5", "0.25") == recipe("2", "1")
    assert recipe("1", "1") == recipe("3", "3")
    assert recipe("1", "0") == a_recipe("cats")
    assert [part.weight for part in recipe("0.3", "1.2").parts] == [1, 4]


def test_the_order_of_shards_does_not_matter() -> None:
    cats, dogs = a_shard("cats").trained(), a_shard("dogs").trained()

    assert actions_for(a_world(a_soup().of(), cats, dogs)) == actions_for(
        a_world(a_soup().of(), dogs, cats)
    )


def test_an_unknown_weighting_holds_additions_and_says_what_is_known() -> None:
    soup = (
        a_soup()
        .of("cats")
        .with_fields(weighting=UnusablePlugin("no weighting is called X", "use Y"))
    )
    world = a_world(soup, a_shard("cats").trained(), a_shard("dogs").trained())

    assessment = check(world, NOON)

    assert actions_for(world) == ()
    assert assessment.soup is not None
    assert (assessment.soup.reason, assessment.soup.help) == (Reason.UNKNOWN_WEIGHTING, "use Y")


def test_a_promoted_revision_is_evaluated_once() -> None:
    soup = a_soup().of("cats").with_fields(evaluates=True)
    start = StartEvaluation(a_revision("cats"))

    assert actions_for(a_world(soup, a_shard("cats").trained())) == (start,)
    known = soup.with_fields(evaluated=frozenset({a_recipe("cats").digest}))
    assert actions_for(a_world(known, a_shard("cats").trained())) == ()


UNUSABLE = UnusablePlugin(
    "there is no evaluator stile", "did you mean style?", Reason.UNKNOWN_EVALUATOR
)


def test_an_unknown_evaluator_starts_no_evaluation_and_is_reported() -> None:
    soup = a_soup().of("cats").with_fields(evaluates=True, unusable_evaluation=UNUSABLE)
    world = a_world(soup, a_shard("cats").trained())

    assessment = check(world, NOON)

    conditions = {update.type: update for update in report_of(assessment).soup.conditions}
    evaluated = conditions[ConditionType.EVALUATED]
    assert (evaluated.so, evaluated.reason) == (False, Reason.UNKNOWN_EVALUATOR)
    assert evaluated.message == "there is no evaluator stile; help: did you mean style?"
    assert actions_for(world) == ()
    assert assessment.soup is None  # The soup is Ready: figures block nothing.


def test_an_unknown_evaluator_does_not_delay_a_merge() -> None:
    soup = a_soup().of("cats").with_fields(evaluates=True, unusable_evaluation=UNUSABLE)
    world = a_world(soup, a_shard("cats").trained(), a_shard("dogs").trained())

    assert actions_for(world) == (StartMerge(a_recipe("cats", "dogs")),)


def test_an_unknown_evaluator_does_not_delay_a_deletion() -> None:
    soup = a_soup().of("cats", "dogs")
    shards = (a_shard("cats").trained(), a_shard("dogs").trained().deleted())
    unusable = soup.with_fields(evaluates=True, unusable_evaluation=UNUSABLE)

    assert actions_for(a_world(unusable, *shards)) == actions_for(a_world(soup, *shards))


def test_a_finished_evaluation_is_recorded_though_its_evaluator_is_gone() -> None:
    soup = a_soup().of("cats").with_fields(evaluates=True, unusable_evaluation=UNUSABLE)
    start = StartEvaluation(a_revision("cats"))
    running = a_world(soup, a_shard("cats").trained(), a_run(start))
    finished = a_world(soup, a_shard("cats").trained(), ended(start, figures={}))

    assert actions_for(running) == ()
    assert [type(action) for action in actions_for(finished)] == [RecordEvaluation]


def test_runs_that_are_not_needed_are_ended() -> None:
    merge = StartMerge(a_recipe("cats"))
    world = a_world(
        a_soup().of("cats"), a_shard("cats").trained(), a_run(merge), a_run(training("cats"))
    )

    assert actions_for(world) == (EndRun(run_name(merge)), EndRun(run_name(training("cats"))))


def test_the_number_of_servers_is_what_the_soup_declares() -> None:
    world = a_world(a_soup().of("cats"), a_shard("cats").trained())
    wanting = replace(world, soup=replace(world.soup, replicas=1))

    assert actions_for(wanting) == (Scale(1),)


def test_a_shard_trained_from_another_base_stays_out_and_says_so() -> None:
    shard = a_shard("cats").trained()
    assert shard.shard.trained is not None
    other = replace(shard.shard.trained, base=key("other base"))
    world = a_world(a_soup().of(), a_shard("dogs").trained())
    world = replace(world, shards=(*world.shards, replace(shard.shard, trained=other)))

    assert actions_for(world) == (StartMerge(a_recipe("dogs")),)
    assert why(world, "cats") is Reason.BASE_DRIFTED


def test_a_failed_evaluation_is_reported_and_blocks_nothing() -> None:
    start = StartEvaluation(a_revision("cats"))
    soup = a_soup().of("cats").with_fields(evaluates=True)
    world = a_world(soup, a_shard("cats").trained(), broken(start, 48, "no evaluator of that name"))

    conditions = {
        condition.type: condition for condition in report_of(check(world, NOON)).soup.conditions
    }

    assert actions_for(world) == ()
    assert conditions[ConditionType.READY].so
    assert not conditions[ConditionType.EVALUATED].so
    assert "no evaluator of that name" in conditions[ConditionType.EVALUATED].message
