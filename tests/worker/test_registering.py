"""From a result to a version: the gate, `live`, held-out pictures, and losses in between."""

from contextlib import contextmanager

import pytest

from app.audit.service import Action, Wanted, list_entries
from app.db import ActorType, Task, TaskState, read_session, write_session
from app.tasks.uploads import drop_uploads
from tests.worker.bench import eventually, running


def test_a_version_that_forgets_is_held(bench):
    bench.run(["cat"])
    bench.control.plan(iou={"cat": 0.5})
    task = bench.run(["dog"], seed=1)
    assert task.state == TaskState.HELD
    second = bench.versions()[1]
    assert task.version_id == second.id
    assert second.gate["reasons"] == [
        "old class 'cat' lost 0.300 IoU (0.800 to 0.500), more than 0.05"
    ]
    assert bench.live() == 1
    assert bench.events(task.id)[-1].data == {"state": "held", "version": 2}
    bench.assert_clean(task.id)


def test_what_the_gate_lets_go_live_is_written_down_as_the_worker_s_deed(bench):
    bench.run(["cat"])
    bench.control.plan(iou={"cat": 0.5})
    assert bench.run(["dog"], seed=1).state == TaskState.HELD
    with read_session(bench.engine) as session:
        (entry,) = list_entries(session, Wanted(Action.PROMOTE), 10)
    assert (entry.actor_type, entry.actor_name) == (ActorType.WORKER, "worker-1")
    assert entry.object == "/admin/models/default/versions/1"
    assert (entry.before, entry.after) == ({"live": None}, {"live": 1, "kind": "gate"})


def test_the_task_s_own_limits_are_applied(bench):
    bench.run(["cat"])
    bench.control.plan(iou={"cat": 0.5})
    assert bench.run(["dog"], seed=1, gate={"max_drop": 0.4}).state == TaskState.LIVE


def test_a_new_class_that_was_not_learned_is_held_and_the_next_step_starts_from_live(bench):
    bench.run(["cat"])
    bench.control.plan(iou={"dog": 0.1})
    assert bench.run(["dog"], seed=1).state == TaskState.HELD
    bench.control.plan()
    assert bench.run(["cow"], seed=2).state == TaskState.LIVE
    first, _held, third = bench.versions()
    assert third.parent_id == first.id
    assert [c["index"] for c in third.classes] == [0, 1, 3], "the held version's index stays taken"


def test_asked_not_to_go_live(bench):
    task = bench.run(["cat"], gate={"promote": False})
    assert task.state == TaskState.HELD
    assert bench.live() is None


def test_live_that_moved_while_the_step_ran_holds(bench):
    bench.run(["cat"])
    assert bench.run(["dog"], seed=1, gate={"promote": False}).state == TaskState.HELD
    bench.control.plan(gated=0)
    task_id = bench.post(["cow"], seed=2)
    with running(bench.supervisor(), task_id) as left:
        eventually(lambda: bench.state(task_id) == TaskState.TRAINING)
        bench.move_live(bench.versions()[1])
        bench.control.let_on()
        eventually(lambda: bool(left))
    assert left == [TaskState.HELD]
    third = bench.versions()[2]
    assert third.gate["reasons"] == [
        "the live version changed while the step ran",
        "the live version knows 'dog' and this one does not",
    ]
    assert third.parent_id == bench.versions()[0].id
    assert bench.live() == 2


def test_the_parent_stays_when_a_lost_task_is_resumed(bench):
    bench.run(["cat"])
    bench.run(["dog"], seed=1, gate={"promote": False})
    bench.control.plan(crash_epoch=1, crash_starts=3)
    task_id = bench.post(["cow"], seed=2)
    assert bench.supervisor().run(task_id) == TaskState.QUEUED
    bench.move_live(bench.versions()[1])
    bench.control.plan()
    assert bench.supervisor().run(task_id) == TaskState.HELD
    assert bench.versions()[2].parent_id == bench.versions()[0].id


def test_held_out_pictures_are_kept_only_with_leave(bench):
    bench.run(["cat"], held_out={"keep": False})
    assert bench.held_out() == []
    bench.run(["dog"], seed=1)
    assert bench.control.starts()[1].job.earlier == ()
    [kept] = bench.held_out()
    assert (kept.classes, kept.pictures, kept.version_id) == (["dog"], 1, bench.versions()[1].id)
    assert bench.has_blob(kept.blob)


def test_held_out_pictures_come_from_the_lineage_alone(bench):
    bench.run(["cat"])
    bench.run(["dog"], seed=1, gate={"promote": False})
    bench.run(["cow"], seed=2)
    assert [e.classes for e in bench.control.starts()[2].job.earlier] == [("cat",)]


@pytest.mark.parametrize("lost_at", ["hold", "go_live", "end"])
def test_a_loss_during_registration_registers_all_or_nothing(bench, monkeypatch, lost_at):
    """What kill -9 does between the first statement and the commit, an exception does too."""
    task_id = bench.post(["cat"])
    with monkeypatch.context() as patch:
        patch.setattr(f"worker.registering.{lost_at}", lambda *_args, **_kw: 1 / 0)
        assert bench.supervisor().run(task_id) == TaskState.QUEUED
    assert bench.versions() == []
    assert bench.live() is None
    assert bench.supervisor().run(task_id) == TaskState.LIVE
    assert len(bench.control.starts()) == 1, "the result was there: nothing was trained again"
    assert len(bench.versions()) == 1
    assert len(bench.held_out()) == 1
    bench.assert_clean(task_id)


def before_files_are_staged(bench, patch, do):
    """Have something happen between a result and its registration, once."""
    stage, todo = bench.blobs.stage, [do]

    def do_then_stage(*args):
        if todo:
            todo.pop()()
        return stage(*args)

    patch.setattr(bench.blobs, "stage", do_then_stage)


def test_a_stale_worker_registers_nothing(bench, monkeypatch):
    """Its lease is lost between the result and the registration."""
    task_id = bench.post(["cat"])

    def steal():
        with write_session(bench.engine) as session:
            row = session.get_one(Task, task_id)
            row.fence, row.state, row.lease_until = row.fence + 1, TaskState.QUEUED, None

    with monkeypatch.context() as patch:
        before_files_are_staged(bench, patch, steal)
        assert bench.supervisor("stale").run(task_id) is None
    assert bench.versions() == []
    assert bench.supervisor("fresh").run(task_id) == TaskState.LIVE
    assert len(bench.versions()) == 1


def test_cancelled_before_the_registration(bench, monkeypatch):
    task_id = bench.post(["cat"])
    before_files_are_staged(bench, monkeypatch, lambda: bench.cancel(task_id))
    assert bench.supervisor().run(task_id) == TaskState.CANCELLED
    assert bench.versions() == []
    bench.assert_clean(task_id)


def test_files_that_somebody_removes_before_the_registration_are_there_after_it(bench, monkeypatch):
    """Another post of the same bytes is refused, or a task with them ends, at the worst moment."""
    stage, removed = bench.blobs.stage, []

    @contextmanager
    def stage_then_remove(*args):
        with stage(*args) as staged:
            drop_uploads(bench.engine, bench.blobs, [staged.blob.key])
            removed.append(staged.blob.key)
            yield staged

    task_id = bench.post(["cat"], memory=10)
    monkeypatch.setattr(bench.blobs, "stage", stage_then_remove)
    assert bench.supervisor().run(task_id) == TaskState.LIVE
    assert removed
    (version,) = bench.versions()
    assert all(bench.has_blob(file["blob"]) for file in version.files.values())
    assert bench.has_blob(bench.held_out()[0].blob)
