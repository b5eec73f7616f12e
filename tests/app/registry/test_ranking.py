"""Which held-out pictures of two versions are looked at, and in which order."""

import pytest

from app.db import HeldOutSet, utc_now, write_session
from app.registry.ranking import (
    DRAWN,
    KeptSet,
    Scored,
    every_set,
    kept_sets,
    most_different,
)
from sats_core.evaluation.picture_scores import PictureScores, SetScores
from tests.fixtures.versions import add_version

BOTH = ("cat", "dog")


def scored(number, sets, *scores, model="default"):
    """A version with sets, of which so many pictures are labelled for both classes."""
    kept = [KeptSet(of, pictures, BOTH) for of, pictures in sets.items()]
    rows = tuple(SetScores(version=of, classes=BOTH, iou=iou) for of, iou in scores)
    return Scored(model, number, kept, PictureScores(sets=rows))


def places(pictures):
    return [(one.model, one.version, one.position) for one in pictures]


def test_the_largest_mean_difference_comes_first_whichever_version_is_better():
    first = scored(3, {1: 4}, (1, ((0.5, 0.5), (0.9, 0.9), (0.2, 0.4), (None, 0.3))))
    second = scored(4, {1: 4}, (1, ((0.6, 0.5), (0.1, 0.5), (0.5, None), (0.7, 0.3))))
    found = most_different((first, second))
    assert [(one.position, one.iou) for one in found.ranked] == [
        (1, {"cat": (0.9, 0.1), "dog": (0.9, 0.5)}),
        (2, {"cat": (0.2, 0.5)}),  # of dog one version says nothing
        (0, {"cat": (0.5, 0.6), "dog": (0.5, 0.5)}),
        (3, {"dog": (0.3, 0.3)}),
    ]
    assert (found.drawn, found.unscored) == ([], 0)
    back = most_different((second, first))
    assert places(back.ranked) == places(found.ranked)
    assert back.ranked[0].iou == {"cat": (0.1, 0.9), "dog": (0.5, 0.9)}


def test_one_class_ranks_what_both_are_scored_on():
    first = scored(3, {1: 3}, (1, ((0.5, 0.9), (0.5, 0.1), (0.2, None))))
    second = scored(4, {1: 3}, (1, ((0.6, 0.9), (0.5, 0.9), (0.5, 0.5))))
    assert [one.position for one in most_different((first, second), "dog").ranked] == [1, 0]
    assert [one.position for one in most_different((first, second), "cat").ranked] == [2, 0, 1]
    assert most_different((first, second), "cow").ranked == []


def test_a_version_s_own_pictures_say_something_of_those_after_it():
    first = scored(1, {1: 1}, (None, ((0.5, 0.5),)))
    second = scored(2, {2: 1, 1: 1}, (None, ((0.1, 0.1),)), (1, ((0.9, 0.5),)))
    found = most_different((first, second))
    assert [(one.version, one.iou) for one in found.ranked] == [
        (1, {"cat": (0.5, 0.9), "dog": (0.5, 0.5)})
    ]
    assert places(found.drawn) == [("default", 2, 0)]
    assert found.drawn[0].iou is None


@pytest.mark.parametrize("theirs", [(), ((1, ((0.5, 0.5),)),)])
def test_without_scores_of_both_pictures_are_drawn_evenly(theirs):
    iou = tuple((0.5, 0.5) for _ in range(100))
    first = scored(2, {1: 100}, (1, iou))
    second = scored(3, {3: 2, 1: 100}, *theirs)  # of 1 nothing, or of as many as there were
    found = most_different((first, second))
    assert found.ranked == []
    assert found.unscored == 102
    new = [("default", 3, 0), ("default", 3, 1)]
    assert places(found.drawn) == [*new, *(("default", 1, at * 100 // 9) for at in range(9))]
    assert most_different((first, second), "cow").unscored == 0
    assert places(most_different((first, second), "cat").drawn) == places(found.drawn)


def test_the_newest_sets_are_drawn_from_where_there_are_many():
    many = scored(40, dict.fromkeys(range(1, 41), 10))
    found = most_different((many, many))
    assert places(found.drawn) == [("default", 40 - back, 0) for back in range(DRAWN)]


def test_of_two_models_no_picture_is_scored_by_both():
    iou = ((0.5, 0.5),)
    first = scored(1, {1: 1}, (None, iou))
    second = scored(1, {1: 1}, (None, iou), model="street")
    found = most_different((first, second))
    assert found.ranked == []
    assert places(found.drawn) == [("default", 1, 0), ("street", 1, 0)]


@pytest.fixture
def keep(blobs):
    """Register a version that keeps so many pictures."""

    def made(session, name, pictures, **how):
        version = add_version(session, blobs, [name], **how)
        kept = HeldOutSet(version_id=version.id, blob="0" * 64, classes=[name], pictures=pictures)
        session.add(kept)
        session.flush()
        return version

    return made


def sets(session, *versions):
    found = every_set((one.model.name, kept_sets(session, one)) for one in versions)
    return [(*place, each.pictures, each.classes) for place, each in found.items()]


def test_of_two_versions_every_set_is_there_once(engine, keep):
    with write_session(engine) as session:
        keep(session, "cat", 10)
        held = keep(session, "cow", 11, live=False)
        live = keep(session, "dog", 12)
        other = keep(session, "cat", 13, model="street")
        mine = [("default", 3, 12, ("dog",)), ("default", 1, 10, ("cat",))]
        assert sets(session, held, live) == [mine[0], ("default", 2, 11, ("cow",)), mine[1]]
        assert sets(session, live, other) == [*mine, ("street", 1, 13, ("cat",))]


def test_what_says_nothing_of_any_version_any_more_is_not_there(engine, keep):
    with write_session(engine) as session:
        first = keep(session, "cat", 100)
        second = keep(session, "dog", 2)
        taught_again = [{**one, "index": one["index"] + 7} for one in second.classes]
        second.classes = [*taught_again[:2], second.classes[2]]
        session.flush()
        assert sets(session, second) == [("default", 2, 2, ("dog",))]
        assert sets(session, first, second)[1] == ("default", 1, 100, ("cat",))
        session.query(HeldOutSet).filter_by(version_id=second.id).one().deleted_at = utc_now()
        assert sets(session, second) == []


def test_a_set_is_labelled_for_what_it_says_of_any_of_them():
    lines = [("default", [KeptSet(1, 5, names)]) for names in (("cat",), ("dog", "cat"))]
    assert every_set(lines) == {("default", 1): KeptSet(1, 5, ("cat", "dog"))}
