"""What a step starts from when it is claimed, and when it must not start at all."""

from app.db import TaskState

SLUG = "urn:sats:problem:nothing-to-start-from"


def held(bench, labelled, seed=0, **spec):
    task = bench.run(labelled, seed=seed, gate={"promote": False}, **spec)
    assert task.state == TaskState.HELD
    return task


def test_a_step_behind_a_base_that_was_held_fails_and_says_what_to_do(bench):
    bench.control.plan(iou={"cat": 0.1})
    base, step = bench.post(["cat"]), bench.post(["dog"], seed=1)
    supervisor = bench.supervisor()
    assert supervisor.run(base) == TaskState.HELD
    assert supervisor.run(step) == TaskState.FAILED
    error = bench.task(step).error
    assert (error["type"], error["status"]) == (SLUG, 409)
    assert "aliases/live" in error["detail"]
    assert '"parent": 1' in error["detail"]
    assert len(bench.control.starts()) == 1, "nothing was trained from scratch"
    assert len(bench.versions()) == 1
    bench.assert_clean(base, step)


def test_promoted_in_time_it_is_built_upon(bench):
    bench.control.plan(iou={"cat": 0.1})
    base, step = bench.post(["cat"]), bench.post(["dog"], seed=1)
    bench.supervisor().run(base)
    bench.move_live(bench.versions()[0])
    bench.control.plan()
    assert bench.supervisor().run(step) == TaskState.LIVE
    assert bench.versions()[1].parent_id == bench.versions()[0].id


def test_a_step_behind_a_base_that_failed_fails(bench):
    bench.control.plan(fail="broken")
    base, step = bench.post(["cat"]), bench.post(["dog"], seed=1)
    assert bench.supervisor().run(base) == TaskState.FAILED
    bench.control.plan()
    assert bench.supervisor().run(step) == TaskState.FAILED
    error = bench.task(step).error
    assert error["type"] == SLUG
    assert "post that one again" in error["detail"]
    assert bench.versions() == []
    assert bench.run(["dog"], seed=1).state == TaskState.LIVE, "posted again, it is the first"


def test_a_base_posted_behind_one_that_somebody_cancels_is_the_base(bench):
    first = bench.post(["cat"])
    bench.cancel(first)
    second = bench.post(["dog"], seed=1)
    assert bench.task(second).may_be_base
    assert bench.supervisor().run(second) == TaskState.LIVE


def test_each_model_has_a_base_of_its_own(bench):
    bench.post(["cat"])
    assert bench.task(bench.post(["dog"], model="other")).may_be_base


def test_a_named_parent_is_started_from_and_compared_with(bench):
    bench.run(["cat"])
    held(bench, ["dog"], seed=1)
    first, second = bench.versions()
    bench.control.plan(iou={"cat": 0.8, "dog": 0.6})
    task = bench.run(["cow"], seed=2, parent=2, gate={"max_drop": 0.1})
    assert task.state == TaskState.HELD
    third = bench.versions()[2]
    assert (third.parent_id, task.live_id) == (second.id, first.id)
    figures = {f["class_name"]: (f["before"], f["after"]) for f in third.gate["figures"]}
    assert figures == {"cat": (0.8, 0.8), "dog": (0.8, 0.6), "cow": (None, 0.8)}
    assert third.gate["reasons"] == [
        "old class 'dog' lost 0.200 IoU (0.800 to 0.600), more than 0.1"
    ]


def test_a_step_from_a_version_that_is_not_live_may_go_live(bench):
    bench.run(["cat"])
    held(bench, ["dog"], seed=1)
    assert bench.run(["cow"], seed=2, parent=2).state == TaskState.LIVE
    assert bench.live() == 3
    assert [c["name"] for c in bench.versions()[2].classes] == ["background", "cat", "dog", "cow"]


def test_a_held_base_is_built_upon_by_its_number(bench):
    held(bench, ["cat"])
    task = bench.run(["dog"], seed=1, parent=1)
    assert (task.state, bench.live()) == (TaskState.LIVE, 2)
    assert bench.control.starts()[1].job.old_version is not None


def test_a_retry_keeps_its_parent_whatever_goes_live(bench):
    bench.run(["cat"])
    held(bench, ["dog"], seed=1)
    bench.control.plan(crash_epoch=1, crash_starts=3)
    task_id = bench.post(["cow"], seed=2, parent=2)
    assert bench.supervisor().run(task_id) == TaskState.QUEUED
    bench.move_live(bench.versions()[1])
    bench.control.plan()
    assert bench.supervisor().run(task_id) == TaskState.HELD
    third = bench.versions()[2]
    assert third.parent_id == bench.versions()[1].id
    assert third.gate["reasons"] == ["the live version changed while the step ran"]


def test_an_unknown_parent_fails_the_task(bench):
    task = bench.run(["cat"], parent=7)
    assert task.state == TaskState.FAILED
    assert task.error["errors"][0]["field"] == "spec.parent"
    assert bench.control.starts() == []


def test_a_step_from_an_earlier_version_takes_no_live_class_away_by_itself(bench):
    bench.run(["cat"])
    bench.run(["dog"], seed=1)
    task = bench.run(["cow"], seed=2, parent=1)
    assert (task.state, bench.live()) == (TaskState.HELD, 2)
    third = bench.versions()[2]
    assert [c["name"] for c in third.classes] == ["background", "cat", "cow"]
    assert third.gate["reasons"] == ["the live version knows 'dog' and this one does not"]
