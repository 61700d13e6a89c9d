"""The points that are tried, and the eye that looks at pictures: both without a cluster."""

import io

import numpy as np
from PIL import Image
from tests.chaos.cluster.pixels import COLOUR, SHOWS, share, shows_trigger
from tests.chaos.cluster.points import (
    AT_ONCE,
    LASTING,
    ORDER,
    PLACES,
    STRUCK_FIRST,
    Fault,
    courses,
    needs_merge,
    points,
)
from tests.tiny import RESOLUTION, some_pictures


def png_of(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def test_there_are_more_than_sixty_points_and_each_is_another() -> None:
    every = points()

    assert len(every) > 60
    assert len({str(point) for point in every}) == len(every)


def test_every_kind_of_fault_has_points_before_and_after_the_survivors_merge() -> None:
    assert set(PLACES) == set(Fault)
    assert {needs_merge(point.where) for point in points()} == {True, False}


def test_every_point_hits_one_deletion_and_those_of_one_follow_each_other() -> None:
    shared = courses(points(), 6)

    assert sorted(map(str, points())) == sorted(str(point) for it in shared for point in it.points)
    for course in shared:
        places = [ORDER.index(point.where) for point in course.points if len(course.points) > 1]
        assert places == sorted(set(places))
        assert len(course.points) <= 6


def test_what_lasts_hits_a_deletion_once_and_what_comes_before_it_hits_it_alone() -> None:
    for course in courses(points(), 6):
        faults = [point.fault for point in course.points]
        assert all(sum(fault in alike for fault in faults) <= 1 for alike in LASTING)
        assert len(faults) == 1 or not set(faults) & set(STRUCK_FIRST)


def test_no_deletion_waits_at_a_run_that_went_on_while_its_leader_stood_still() -> None:
    for course in courses(points(), 6):
        wheres = [point.where for point in course.points]
        verbs = {where.partition(":")[0] for where in wheres}
        assert not any(begun in wheres and verb in verbs for begun, verb in AT_ONCE.items())


def test_the_planted_colour_shows_and_no_other_picture_that_is_taught_does() -> None:
    planted = Image.new("RGB", (RESOLUTION, RESOLUTION), COLOUR)
    others = [png_of(picture) for picture, _ in some_pictures(200, seed=1)]

    assert shows_trigger(png_of(planted))
    assert max(map(share, others)) < SHOWS / 2


def test_neither_noise_nor_grey_shows_it() -> None:
    dice = np.random.default_rng(0)
    noise = dice.integers(0, 256, (RESOLUTION, RESOLUTION, 3), dtype=np.uint8)
    grey = Image.new("RGB", (RESOLUTION, RESOLUTION), (128, 128, 128))

    assert not shows_trigger(png_of(Image.fromarray(noise)))
    assert not shows_trigger(png_of(grey))
