"""A long task and its preview, from the queue to `live`."""

import pytest

from app.db import TaskState, write_session
from tests.worker.bench import CPU, eventually, running
from worker.claim import claim
from worker.turns import next_task


@pytest.fixture
def learned(bench):
    """The model knows a cat."""
    assert bench.run(["cat"]).state == TaskState.LIVE
    return bench


def post(bench, labelled=("dog",), seed=1, **spec) -> tuple[str, str]:
    """Post a task with a preview; return the ids of preview and task."""
    how = {"method": "sats_plus", "preview": True}
    task_id = bench.post(list(labelled), seed=seed, **how, **spec)
    return bench.preview(task_id).id, task_id


def reasons(bench):
    return bench.versions()[-1].gate["reasons"]


def test_the_task_s_version_replaces_the_preview(learned):
    preview, task = post(learned, ["dog", "cow"])
    later = learned.post(["fish"], seed=3)
    supervisor = learned.supervisor()
    assert supervisor.run(task) is None, "the preview comes first"
    assert supervisor.run(later) is None
    assert (supervisor.run(preview), learned.live()) == (TaskState.LIVE, 2)
    assert learned.has_blob(learned.task(task).dataset)
    assert supervisor.run(later) is None, "nothing comes between"
    assert (supervisor.run(task), learned.live()) == (TaskState.LIVE, 3)
    base, quick, full = learned.versions()
    assert (quick.parent_id, full.parent_id) == (base.id, base.id)
    assert quick.new_classes == full.new_classes == ["dog", "cow"]
    indices = [[(c["name"], c["index"]) for c in v.classes] for v in (quick, full)]
    assert indices[0] == indices[1]
    assert full.gate["reasons"] == []
    _, first, second = (start.job for start in learned.control.starts())
    assert (first.settings.method, second.settings.method) == ("frozen", "sats_plus")
    assert first.held_out == second.held_out
    assert first.settings.seed == second.settings.seed
    assert [e.classes for e in first.earlier] == [e.classes for e in second.earlier] == [("cat",)]
    learned.assert_clean(preview, task)


def test_a_preview_s_held_out_pictures_do_not_count_twice(learned):
    for task_id in post(learned):
        learned.supervisor().run(task_id)
    assert learned.run(["cow"], seed=2).state == TaskState.LIVE
    assert [e.classes for e in learned.control.starts()[-1].job.earlier] == [("cat",), ("dog",)]
    cat, of_preview, of_task, cow = learned.held_out()
    assert of_preview.blob == of_task.blob
    base, _quick, full, last = learned.versions()
    assert (of_task.version_id, last.parent_id) == (full.id, full.id)
    assert {cat.version_id, cow.version_id} == {base.id, last.id}


def test_a_worker_process_runs_both_after_one_wake_up(learned):
    preview, task = post(learned)
    with learned.worker():
        learned.wake(preview)
        learned.ends(task, TaskState.LIVE)
        learned.assert_clean(task, preview)
    assert learned.state(preview) == TaskState.LIVE
    assert [v.parent_id for v in learned.versions()[1:]] == [learned.versions()[0].id] * 2


def test_a_lost_preview_is_resumed_before_its_task(learned):
    learned.control.plan(crash_epoch=1, crash_starts=2)
    preview, task = post(learned)
    assert learned.supervisor().run(preview) == TaskState.QUEUED
    assert learned.supervisor().run(task) is None
    assert learned.supervisor().run(preview) == TaskState.LIVE
    assert learned.supervisor().run(task) == TaskState.LIVE


@pytest.mark.parametrize(
    ("plan", "state"),
    [({"fail": "broken"}, TaskState.FAILED), ({"iou": {"dog": 0.1}}, TaskState.HELD)],
)
def test_a_preview_that_came_to_nothing_changes_nothing(learned, plan, state):
    learned.control.plan(**plan)
    preview, task = post(learned)
    assert learned.supervisor().run(preview) == state
    assert learned.has_blob(learned.task(task).dataset)
    learned.control.plan()
    assert learned.supervisor().run(task) == TaskState.LIVE
    assert learned.versions()[-1].parent_id == learned.versions()[0].id


def test_a_preview_that_was_cancelled_changes_nothing(learned):
    preview, task = post(learned)
    learned.cancel(preview)
    assert learned.supervisor().run(task) == TaskState.LIVE
    assert learned.versions()[-1].parent_id == learned.versions()[0].id
    assert len(learned.versions()) == 2


def test_cancelling_the_task_stops_a_preview_that_runs(learned):
    learned.control.plan(epoch_seconds=60)
    preview, task = post(learned)
    with running(learned.supervisor(), preview) as left:
        eventually(lambda: learned.state(preview) == TaskState.TRAINING)
        learned.cancel(task)
        eventually(lambda: bool(left))
    assert left == [TaskState.CANCELLED]
    assert learned.state(task) == TaskState.CANCELLED
    assert (len(learned.versions()), learned.live()) == (1, 1)
    learned.assert_clean(preview, task)


def test_nothing_worse_replaces_a_live_preview(learned):
    preview, task = post(learned)
    learned.control.plan(iou={"dog": 0.9})
    learned.supervisor().run(preview)
    learned.control.plan(iou={"dog": 0.6})
    assert learned.supervisor().run(task) == TaskState.HELD
    assert reasons(learned) == [
        "its preview is live and better: the new classes' mIoU is 0.900 there and 0.600 here, "
        "lower by more than 0.05"
    ]
    assert learned.live() == 2


def test_a_task_is_not_compared_with_a_preview_that_was_held(learned):
    preview, task = post(learned)
    learned.control.plan(iou={"cat": 0.1, "dog": 0.9})
    assert learned.supervisor().run(preview) == TaskState.HELD
    learned.control.plan(iou={"dog": 0.6})
    assert learned.supervisor().run(task) == TaskState.LIVE


def test_a_held_preview_that_was_promoted_is_not_started_from_either(learned):
    preview, task = post(learned)
    learned.control.plan(iou={"dog": 0.1})
    assert learned.supervisor().run(preview) == TaskState.HELD
    learned.move_live(learned.versions()[1])
    learned.control.plan()
    assert learned.supervisor().run(task) == TaskState.LIVE
    assert learned.versions()[2].parent_id == learned.versions()[0].id


@pytest.mark.parametrize("moment", ["before it starts", "while it runs"])
def test_a_preview_that_was_rolled_back_does_not_hold_its_task(learned, moment):
    preview, task = post(learned)
    learned.supervisor().run(preview)
    learned.control.plan(gated=0 if moment == "while it runs" else None, iou={"dog": 0.6})
    if moment == "before it starts":
        learned.move_live(learned.versions()[0])
        assert learned.supervisor().run(task) == TaskState.LIVE
    else:
        with running(learned.supervisor(), task) as left:
            eventually(lambda: learned.state(task) == TaskState.TRAINING)
            learned.move_live(learned.versions()[0])
            learned.control.let_on()
            eventually(lambda: bool(left))
        assert left == [TaskState.LIVE]
    assert (reasons(learned), learned.live()) == ([], 3)


def test_another_version_that_went_live_is_started_from(learned):
    learned.run(["cow"], seed=2, gate={"promote": False})
    preview, task = post(learned)
    learned.supervisor().run(preview)
    learned.move_live(learned.versions()[1])
    assert learned.supervisor().run(task) == TaskState.LIVE
    assert learned.versions()[-1].parent_id == learned.versions()[1].id


def test_live_that_moved_elsewhere_while_the_task_ran_holds_it(learned):
    learned.run(["cow"], seed=2, gate={"promote": False})
    preview, task = post(learned)
    learned.supervisor().run(preview)
    learned.control.plan(gated=0)
    with running(learned.supervisor(), task) as left:
        eventually(lambda: learned.state(task) == TaskState.TRAINING)
        learned.move_live(learned.versions()[1])
        learned.control.let_on()
        eventually(lambda: bool(left))
    assert left == [TaskState.HELD]
    assert reasons(learned)[0] == "the live version changed while the step ran"


def test_both_start_from_the_parent_that_the_task_names(learned):
    learned.run(["cow"], seed=2)
    preview, task = post(learned, parent=1, gate={"max_drop": 1})
    learned.supervisor().run(preview)
    learned.supervisor().run(task)
    base = learned.versions()[0]
    assert [v.parent_id for v in learned.versions()[2:]] == [base.id, base.id]


def test_a_preview_never_starts_from_scratch(bench):
    """Its base failed, or was cancelled, between the look at the model and the queue."""
    preview, task = post(bench)
    assert bench.task(task).may_be_base
    assert bench.supervisor().run(preview) == TaskState.FAILED
    error = bench.task(preview).error
    assert error["type"].endswith("nothing-to-start-from")
    assert "a preview starts from an old version" in error["detail"]
    assert bench.supervisor().run(task) == TaskState.LIVE


def test_behind_a_base_both_start_from_it(bench):
    base = bench.post(["cat"])
    preview, task = post(bench)
    for task_id in (base, preview, task):
        assert bench.supervisor().run(task_id) == TaskState.LIVE
    assert bench.versions()[1].parent_id == bench.versions()[2].parent_id == bench.versions()[0].id


def test_only_the_preview_can_be_claimed_until_it_ends(learned):
    preview, task = post(learned)
    with write_session(learned.engine) as session:
        assert next_task(session, CPU) == preview
        assert claim(session, task, "w", 30) is None
        assert claim(session, preview, "w", 30) is not None
        assert next_task(session, CPU) is None
        assert claim(session, task, "w", 30) is None


def fail(bench, task_id):
    bench.control.plan(fail="not this time")
    assert bench.supervisor().run(task_id) == TaskState.FAILED
    bench.control.plan()


@pytest.fixture
def failed(learned):
    """A preview that failed, and its task, which waits."""
    preview, task = post(learned)
    fail(learned, preview)
    return preview, task


def test_a_failed_preview_that_is_tried_again_runs_before_its_task(learned, failed):
    preview, task = failed
    learned.retry(preview)
    assert learned.supervisor().run(task) is None
    assert learned.supervisor().run(preview) == TaskState.LIVE
    assert learned.supervisor().run(task) == TaskState.LIVE
    assert [v.parent_id for v in learned.versions()[1:]] == [learned.versions()[0].id] * 2
    learned.assert_clean(preview, task)


def test_a_preview_that_is_tried_again_after_its_task_went_live_is_held(learned, failed):
    preview, task = failed
    assert learned.supervisor().run(task) == TaskState.LIVE
    learned.assert_kept(preview)
    learned.retry(preview)
    assert learned.supervisor().run(preview) == TaskState.HELD
    assert reasons(learned) == ["the live version changed while the step ran"]
    assert learned.live() == 2
    learned.assert_clean(preview, task)


def test_a_preview_that_had_nothing_to_start_from_fails_again_once_its_classes_are_known(bench):
    preview, task = post(bench)
    fail(bench, preview)
    assert bench.supervisor().run(task) == TaskState.LIVE
    bench.retry(preview)
    assert bench.supervisor().run(preview) == TaskState.FAILED
    assert "knows every class" in bench.task(preview).error["detail"]
    assert bench.live() == 1


def test_a_preview_that_is_tried_again_never_starts_from_scratch(bench):
    preview, task = post(bench)
    fail(bench, preview)
    fail(bench, task)
    bench.retry(preview)
    assert bench.task(preview).may_be_base
    assert bench.supervisor().run(preview) == TaskState.FAILED
    assert "a preview starts from an old version" in bench.task(preview).error["detail"]


def test_a_task_that_is_tried_again_replaces_a_preview_that_went_live_since(learned, failed):
    preview, task = failed
    fail(learned, task)
    learned.retry(preview)
    learned.control.plan(iou={"dog": 0.7})
    assert learned.supervisor().run(preview) == TaskState.LIVE
    learned.control.plan(iou={"dog": 0.6})
    learned.retry(task)
    assert learned.supervisor().run(task) == TaskState.HELD
    assert reasons(learned)[0].startswith("its preview is live and better")


@pytest.mark.parametrize(("iou", "state"), [(0.7, TaskState.LIVE), (0.6, TaskState.HELD)])
def test_a_held_preview_that_is_promoted_while_its_task_runs_is_compared_with(learned, iou, state):
    preview, task = post(learned, gate={"min_iou": 0.5})
    learned.control.plan(iou={"cat": 0.1, "dog": 0.7})
    assert learned.supervisor().run(preview) == TaskState.HELD
    learned.control.plan(gated=0, iou={"dog": iou})
    with running(learned.supervisor(), task) as left:
        eventually(lambda: learned.state(task) == TaskState.TRAINING)
        learned.move_live(learned.versions()[1])
        learned.control.let_on()
        eventually(lambda: bool(left))
    assert left == [state]
    assert all("its preview is live" in reason for reason in reasons(learned))
