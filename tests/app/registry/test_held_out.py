"""Which held-out pictures of a lineage are looked at."""

import pytest

from app.db import HeldOutSet, utc_now, write_session
from app.errors import NotFoundProblem
from app.registry.held_out import Drawn, samples, standing_held_out
from app.registry.service import ensure_model
from tests.fixtures.versions import add_version


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


def places(found):
    return [(one.model, one.version, one.position) for one in found.samples]


def test_the_newest_sets_come_first_and_none_takes_the_room_of_another(engine, keep):
    with write_session(engine) as session:
        first = keep(session, "cat", 100)
        second = keep(session, "dog", 2)
        assert places(samples(session, [second], 6)) == [
            ("default", 2, 0),
            ("default", 2, 1),
            ("default", 1, 0),
            ("default", 1, 33),
            ("default", 1, 66),
        ]
        assert places(samples(session, [second], 1)) == [("default", 2, 0)]
        assert samples(session, [first], 3).samples[0].classes == ["cat"]
        assert samples(session, [second], 6).out_of == 102
        assert samples(session, [second], 1).out_of == 102


def test_of_two_versions_every_set_is_looked_at_once(engine, keep):
    with write_session(engine) as session:
        keep(session, "cat", 10)
        held = keep(session, "cow", 10, live=False)
        live = keep(session, "dog", 10)
        other = keep(session, "cat", 10, model="street")
        both = places(samples(session, [held, live], 3))
        assert both == [("default", number, 0) for number in (3, 2, 1)]
        models = places(samples(session, [live, other], 3))
        assert models == [("street", 1, 0), ("default", 3, 0), ("default", 1, 0)]


def test_what_says_nothing_of_any_version_any_more_takes_no_room_and_is_not_counted(engine, keep):
    with write_session(engine) as session:
        first = keep(session, "cat", 100)
        second = keep(session, "dog", 2)
        taught_again = [{**one, "index": one["index"] + 7} for one in second.classes]
        second.classes = [*taught_again[:2], second.classes[2]]
        session.flush()
        assert samples(session, [second], 6).out_of == 2
        assert places(samples(session, [second], 1)) == [("default", 2, 0)]
        assert samples(session, [first, second], 6).out_of == 102


def test_what_was_deleted_or_never_kept_is_not_there(engine, blobs, keep):
    with write_session(engine) as session:
        ensure_model(session, "default")
        version = keep(session, "cat", 10)
        session.query(HeldOutSet).one().deleted_at = utc_now()
        without = add_version(session, blobs, ["dog"])
        assert samples(session, [without], 6) == Drawn([], 0)
        for one in (version, without):
            with pytest.raises(NotFoundProblem, match="keeps no held-out pictures"):
                standing_held_out(session, one)
