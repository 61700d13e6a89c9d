"""The pure parts of a training: what chance decides, the learning rate, threads."""

from collections import Counter
from typing import Any

import pytest
import torch

from stockpot.api.training import LearningRateSchedule, Training
from stockpot.training.optimizer import learning_rate
from stockpot.training.sampling_plan import SamplingPlan, plan_batch


def a_draw(batch: int, **fields: Any) -> SamplingPlan:
    said = {
        "records": 10,
        "batch_size": 4,
        "latent_shape": (2, 3, 3),
        "timesteps": 1000,
        "flip": True,
        "captionless": 0.25,
    }
    return plan_batch(7, batch, **{**said, **fields})


def test_a_batch_is_drawn_the_same_whenever_it_is_drawn() -> None:
    torch.manual_seed(1)
    first = a_draw(5)
    torch.manual_seed(2)
    a_draw(4)

    again = a_draw(5)

    assert all(torch.equal(getattr(first, name), getattr(again, name)) for name in vars(first))


def test_no_two_batches_have_the_same_noise() -> None:
    assert not torch.equal(a_draw(1).noise, a_draw(2).noise)


def test_every_record_is_seen_once_an_epoch() -> None:
    seen = [int(record) for batch in range(5) for record in a_draw(batch).records]

    assert Counter(seen) == Counter(dict.fromkeys(range(10), 2))
    assert seen[:10] != seen[10:]


def test_a_batch_may_be_larger_than_the_data() -> None:
    assert Counter(a_draw(0, records=1).records.tolist()) == {0: 4}


def test_captions_are_left_out_as_often_as_was_said() -> None:
    drawn = a_draw(0, batch_size=4000)

    assert drawn.captionless.float().mean() == pytest.approx(0.25, abs=0.03)
    assert drawn.flipped.float().mean() == pytest.approx(0.5, abs=0.03)


def test_nothing_is_flipped_where_that_was_not_asked_for() -> None:
    assert not a_draw(0, batch_size=100, flip=False).flipped.any()


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
