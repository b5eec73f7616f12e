"""What is past its days goes by the worker's own sweeps, a bounded lot at a time."""

from datetime import timedelta

import pytest
from sqlalchemy import delete, func, select, update
from structlog.testing import capture_logs

from app.audit.service import Action, Wanted, list_entries
from app.db import (
    AliasMove,
    Memory,
    Place,
    Task,
    TaskEvent,
    TaskLog,
    TaskState,
    Version,
    read_session,
    utc_now,
    write_session,
)
from tests.fixtures.clocks import set_ahead
from tests.fixtures.versions import add_version
from tests.worker.test_sweeper import sweeper


def age(bench, days):
    """Make everything look as if it had happened before."""
    past = timedelta(days=days)
    with write_session(bench.engine) as session:
        for row in session.scalars(select(Task)):
            row.finished_at = row.finished_at and row.finished_at - past
        for row in session.scalars(select(Version)):
            row.created_at -= past
        for row in session.scalars(select(AliasMove)):
            row.moved_at -= past


def sweep(bench, **changes):
    """Sweep once; returns what the log says of it, without the bytes, and the bytes."""
    with capture_logs() as logs:
        made, _ = sweeper(bench, **changes)
        made.sweep()  # tidies: of failed tasks those go that cannot be tried again
        made.retain()
    said = [log for log in logs if log["event"] == "retention"]
    if not said:
        return {}, 0
    (figures,) = said
    counts = ("versions", "held_out", "tasks", "histories")
    return {name: figures[name] for name in counts if figures[name]}, figures["freed_bytes"]


def told(bench):
    with read_session(bench.engine) as session:
        return set(session.scalars(select(TaskEvent.task_id)))


def test_by_default_versions_stay_and_the_rest_goes_in_time(bench):
    done = bench.run(["cat"])
    cancelled = bench.post(["hen"])
    bench.cancel(cancelled)
    bench.control.plan(fail="not this time")
    failed = bench.run(["dog"])
    waiting = bench.post(["cow"])
    age(bench, 29)
    assert sweep(bench) == ({}, 0)
    age(bench, 2)
    assert sweep(bench) == ({"tasks": 1}, 0), "31 days: the cancelled one"
    age(bench, 58)
    assert sweep(bench) == ({}, 0), "89 days"
    age(bench, 2)
    assert sweep(bench)[0] == {"tasks": 1, "histories": 1}
    with read_session(bench.engine) as session:
        assert set(session.scalars(select(Task.id))) == {done.id, waiting}
        assert session.scalar(select(func.count()).where(Version.deleted_at.is_not(None))) == 0
        (entry,) = list_entries(session, Wanted(Action.TASK_HISTORY_DELETE), 9)
    assert (entry.object, entry.model) == (f"/tasks/{done.id}", "default")
    assert (entry.actor_type, entry.actor_name) == ("worker", "retention")
    assert entry.before["events"] > 0
    assert entry.after == {"events": 0, "log": False}
    assert told(bench) == {waiting}
    assert failed.id not in told(bench)
    assert bench.held_out()[0].deleted_at is None


def test_an_entry_tells_whether_a_log_went_too(bench):
    logged, silent = bench.run(["cat"]), bench.run(["dog"])
    with write_session(bench.engine) as session:
        session.execute(delete(TaskLog))
        session.add(TaskLog(task_id=logged.id, text="as it was said"))
    age(bench, 91)
    assert sweep(bench)[0] == {"histories": 2}
    with read_session(bench.engine) as session:
        entries = list_entries(session, Wanted(Action.TASK_HISTORY_DELETE), 9)
        assert session.scalar(select(func.count()).select_from(TaskLog)) == 0
    told = {entry.object: entry.before["log"] for entry in entries}
    assert told == {f"/tasks/{logged.id}": True, f"/tasks/{silent.id}": False}


def test_a_failed_task_that_may_be_tried_again_stays(bench):
    bench.control.plan(fail="not this time")
    failed = bench.run(["dog"])
    age(bench, 100)
    assert sweep(bench, keep_failed_hours=24 * 365)[0] == {"histories": 1}
    bench.control.plan(epochs=1)
    bench.retry(failed.id)
    assert bench.supervisor().run(failed.id) == TaskState.LIVE


def test_old_versions_go_from_the_leaves(bench):
    """Neither the live one, nor what it was learned from, nor what was live until lately."""
    bench.control.plan(epochs=1)
    bench.run(["cat"])
    bench.control.plan(epochs=1, default_iou=0.0)
    bench.run(["dog"])
    bench.run(["cow"], parent=2)
    bench.control.plan(epochs=1)
    bench.run(["owl"], parent=1)
    leaf = bench.versions()[2]
    bench.move_live(leaf)
    bench.move_live(bench.versions()[3])
    age(bench, 20)
    with write_session(bench.engine) as session:  # version 3 was live until two days ago
        last = select(func.max(AliasMove.id)).scalar_subquery()
        lately = utc_now() - timedelta(days=2)
        session.execute(update(AliasMove).where(AliasMove.id == last).values(moved_at=lately))
    assert sweep(bench, keep_versions_days=10.0) == ({}, 0)
    age(bench, 10)
    kinds, freed = sweep(bench, keep_versions_days=10.0)
    assert kinds == {"versions": 1}
    assert freed >= sum(file["bytes"] for file in leaf.files.values())
    assert [v.deleted_at is not None for v in bench.versions()] == [False, False, True, False]
    assert sweep(bench, keep_versions_days=10.0)[0] == {"versions": 1}
    assert [v.deleted_at is not None for v in bench.versions()] == [False, True, True, False]
    assert sweep(bench, keep_versions_days=10.0) == ({}, 0)


def test_held_out_pictures_go_where_they_are_to(bench):
    bench.control.plan(epochs=1)
    bench.run(["cat"])
    (kept,) = bench.held_out()
    age(bench, 20)
    assert sweep(bench, keep_held_out_days=30.0) == ({}, 0)
    assert sweep(bench, keep_held_out_days=10.0)[0] == {"held_out": 1}
    assert not bench.has_blob(kept.blob)


@pytest.mark.parametrize("never", ["keep_failed_days", "keep_cancelled_days", "keep_events_days"])
def test_never_is_never(bench, never):
    bench.control.plan(fail="not this time")
    bench.run(["dog"])
    bench.cancel(bench.post(["hen"]))
    age(bench, 10_000)
    kept = {"keep_failed_days": None, "keep_cancelled_days": None, "keep_events_days": None}
    assert sweep(bench, **kept) == ({}, 0)
    assert sweep(bench, **{**kept, never: 1.0})[0] != {}


def test_a_bounded_lot_is_deleted_at_a_time_until_none_is_left(bench, monkeypatch):
    monkeypatch.setattr("app.deletion.retention.AT_ONCE", 2)
    for _ in range(5):
        bench.cancel(bench.post(["hen"]))
    age(bench, 40)
    made, _ = sweeper(bench)
    with capture_logs() as logs:
        made.retain()
    assert [log["tasks"] for log in logs if log["event"] == "retention"] == [2, 2, 1]


def test_what_may_never_go_does_not_stop_what_may(bench, monkeypatch):
    monkeypatch.setattr("app.deletion.retention.AT_ONCE", 2)
    with write_session(bench.engine) as session:
        add_version(session, bench.blobs, ["cat"])
        stuck = [add_version(session, bench.blobs, ["dog"], live=False) for _ in range(3)]
        session.add_all(
            Memory(
                version_id=version.id,
                blob="0" * 64,
                bytes=1,
                place=Place.MEMORY_FOLDER,  # which no worker can reach
                pictures=1,
                classes=["dog"],
            )
            for version in stuck
        )
        add_version(session, bench.blobs, ["cow"], live=False)
    age(bench, 20)
    assert sweep(bench, keep_versions_days=10.0)[0] == {"versions": 1}
    assert [v.number for v in bench.versions() if v.deleted_at] == [5]


def test_a_host_whose_clock_is_ahead_deletes_nothing_before_its_time(bench, monkeypatch):
    bench.control.plan(epochs=1, default_iou=0.0)
    bench.run(["cat"])
    bench.cancel(bench.post(["hen"]))
    bench.control.plan(fail="not this time")
    failed = bench.run(["dog"])
    every = {"keep_versions_days": 30.0, "keep_held_out_days": 30.0}
    with monkeypatch.context() as patch:
        set_ahead(patch, timedelta(days=400))
        assert sweep(bench, **every) == ({}, 0)
        bench.assert_kept(failed.id)
    age(bench, 400)
    kinds = sweep(bench, **every)[0]
    assert {"versions", "tasks", "histories"} <= kinds.keys()
    assert not bench.has_blob(failed.dataset)


def test_what_a_host_whose_clock_is_behind_made_and_ended_stays(bench, monkeypatch):
    every = {"keep_versions_days": 30.0, "keep_held_out_days": 30.0}
    with monkeypatch.context() as patch:
        set_ahead(patch, timedelta(days=-400))
        bench.control.plan(epochs=1, default_iou=0.0)
        bench.run(["cat"])
        bench.cancel(bench.post(["hen"]))
        bench.control.plan(fail="not this time")
        failed = bench.run(["dog"])
    assert sweep(bench, **every) == ({}, 0)
    bench.assert_kept(failed.id)


def test_what_was_live_until_a_host_whose_clock_is_behind_moved_the_alias_stays(bench, monkeypatch):
    bench.control.plan(epochs=1)
    bench.run(["cat"])
    bench.control.plan(epochs=1, default_iou=0.0)
    bench.run(["dog"])
    first, second = bench.versions()
    bench.move_live(second)
    age(bench, 400)
    with monkeypatch.context() as patch:
        set_ahead(patch, timedelta(days=-400))
        bench.move_live(first)
    assert "versions" not in sweep(bench, keep_versions_days=30.0)[0]
    assert bench.versions()[1].deleted_at is None


def test_the_settings_say_never_in_the_environment(monkeypatch):
    from app.settings import Settings

    monkeypatch.setenv("SATS_KEEP_EVENTS_DAYS", "never")
    assert Settings().keep_events_days is None
