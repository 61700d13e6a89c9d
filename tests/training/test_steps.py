"""The pure parts of a training: what chance decides, the learning rate, threads."""

from collections import Counter
from typing import Any

import pytest
import torch

from stockpot.api.training import LearningRateSchedule, Training
from stockpot.core.digests import digest_of_bytes, digest_of_json
from stockpot.core.training_key import BYTE_FIELDS, TRAINING_SEMANTICS, training_key
from stockpot.training.optimizer import learning_rate
from stockpot.training.sampling_plan import SamplingPlan, plan_batch


def a_plan(batch: int, **fields: Any) -> SamplingPlan:
    defaults = {
        "records": 10,
        "batch_size": 4,
        "latent_shape": (2, 3, 3),
        "draw_levels": lambda count, dice: torch.randint(1000, (count,), generator=dice),
        "flip": True,
        "captionless": 0.25,
    }
    return plan_batch(7, batch, **{**defaults, **fields})


def test_a_batch_is_drawn_the_same_whenever_it_is_drawn() -> None:
    torch.manual_seed(1)
    first = a_plan(5)
    torch.manual_seed(2)
    a_plan(4)

    again = a_plan(5)

    assert all(torch.equal(getattr(first, name), getattr(again, name)) for name in vars(first))


def test_no_two_batches_have_the_same_noise() -> None:
    assert not torch.equal(a_plan(1).noise, a_plan(2).noise)


def test_every_record_comes_once_an_epoch() -> None:
    order = [int(record) for batch in range(5) for record in a_plan(batch).records]

    assert Counter(order) == Counter(dict.fromkeys(range(10), 2))
    assert order[:10] != order[10:]


def test_a_batch_may_be_larger_than_the_data() -> None:
    assert Counter(a_plan(0, records=1).records.tolist()) == {0: 4}


def test_captions_are_left_out_in_the_given_proportion() -> None:
    drawn = a_plan(0, batch_size=4000)

    assert drawn.captionless.float().mean() == pytest.approx(0.25, abs=0.03)
    assert drawn.flipped.float().mean() == pytest.approx(0.5, abs=0.03)


def test_a_noise_offset_moves_whole_channels_and_nothing_else() -> None:
    plain, offset = (a_plan(3, batch_size=4, noise_offset=amount) for amount in (0.0, 0.5))

    moved = offset.noise - plain.noise

    assert moved.std(dim=(2, 3)).max() < 1e-6, "a channel is moved as a whole"
    assert moved.mean(dim=(2, 3)).std() == pytest.approx(0.5, rel=0.6)
    assert torch.equal(offset.levels, plain.levels)


def test_settings_that_came_later_change_no_key_while_they_are_not_set() -> None:
    base, data = digest_of_bytes(b"base"), digest_of_bytes(b"data")
    before = Training().model_dump(mode="json", by_alias=True, include=set(BYTE_FIELDS))
    content = {"base": base, "data": data, "semantics": TRAINING_SEMANTICS, "training": before}

    assert training_key(base, data, Training()) == digest_of_json("training-key/1", content)
    for later in ({"noise_offset": "0.1"}, {"flow_matching": {}}):
        changed = training_key(base, data, Training.model_validate(later))
        assert changed != training_key(base, data, Training())


def test_nothing_is_flipped_where_that_was_not_asked_for() -> None:
    assert not a_plan(0, batch_size=100, flip=False).flipped.any()


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        (LearningRateSchedule.CONSTANT, [0.5, 1, 1, 1, 1, 1]),
        (LearningRateSchedule.LINEAR, [0.5, 1, 1, 0.75, 0.5, 0.25]),
        (LearningRateSchedule.COSINE, [0.5, 1, 1, 0.853553, 0.5, 0.146447]),
    ],
)
def test_the_learning_rate_rises_in_the_warm_up_and_falls_by_its_schedule(
    schedule: LearningRateSchedule, rates: list[float]
) -> None:
    training = Training(max_train_steps=6, lr_warmup_steps=2, lr_scheduler=schedule)

    assert [learning_rate(training, 1.0, step) for step in range(6)] == pytest.approx(
        rates, rel=1e-4
    )
