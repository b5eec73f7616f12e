"""A task from claim to end: the supervisor with a scripted child, on both databases."""

import time
from types import SimpleNamespace

import pytest

from app.db import TaskState, write_session
from sats_core.job import CHECKPOINT
from tests.worker.bench import eventually, running
from worker.claim import claim
from worker.recorder import PROGRESS_SECONDS, Recorder


def test_a_base_step_goes_live(bench):
    task = bench.run(["cat", "dog"])
    assert task.state == TaskState.LIVE
    assert bench.states(task.id) == [
        "queued",
        "validating",
        "validating",
        "training",
        "evaluating",
        "live",
    ]
    [version] = bench.versions()
    assert (version.number, version.parent_id, version.new_classes) == (1, None, ["cat", "dog"])
    assert version.id == task.version_id
    assert [c["name"] for c in version.classes] == ["background", "cat", "dog"]
    assert version.gate["passed"]
    assert bench.live() == 1
    assert all(bench.has_blob(entry["blob"]) for entry in version.files.values())
    assert set(version.files) == {"config.json", "model.safetensors"}
    assert (task.tries, task.lease_until, task.worker, task.error) == (0, None, None, None)
    assert task.started_at <= task.finished_at
    bench.assert_clean(task.id)


def test_a_second_step_starts_from_the_live_version(bench):
    bench.run(["cat"])
    bench.run(["dog"], seed=1)
    first, second = bench.versions()
    assert second.parent_id == first.id
    assert second.new_classes == ["dog"]
    assert bench.live() == 2
    job = bench.control.starts()[1].job
    assert (job.new_classes, job.indices) == (("dog",), (2,))
    assert [earlier.classes for earlier in job.earlier] == [("cat",)]
    assert [kept.classes for kept in bench.held_out()] == [["cat"], ["dog"]]


def test_classes_are_those_asked_for_or_all_that_are_new(bench):
    bench.run(["cat", "dog"], classes=["dog"])
    bench.run(["cat", "dog", "cow"], seed=1)
    assert [v.new_classes for v in bench.versions()] == [["dog"], ["cat", "cow"]]


@pytest.mark.parametrize("classes", [None, ["cat"]])
def test_a_class_learned_while_the_task_waited_fails_it(bench, classes):
    first = bench.post(["cat"])
    second = bench.post(["cat"], seed=1, classes=classes)
    supervisor = bench.supervisor()
    supervisor.run(first)
    supervisor.run(second)
    task = bench.task(second)
    assert task.state == TaskState.FAILED
    assert "know" in str(task.error)
    assert len(bench.versions()) == 1
    bench.assert_clean(first, second)


def test_what_the_child_says_is_recorded(bench):
    bench.control.plan(epochs=3, warning="no pretrained weights", progress_per_epoch=50)
    task = bench.run(["cat"])
    assert task.warnings == ["no pretrained weights"]
    assert [e.data["message"] for e in bench.events(task.id, "warning")] == task.warnings
    epochs = bench.events(task.id, "epoch")
    assert [e.data["epoch"] for e in epochs] == [1, 2, 3]
    assert epochs[0].data["losses"] == {"cross_entropy": 0.5}
    assert task.progress["epoch"] == 3
    assert not bench.events(task.id, "progress"), "thinned out when the task ended"


def test_progress_is_written_now_and_then(bench, monkeypatch):
    now, heard = [1000.0], []
    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=time.sleep)
    monkeypatch.setattr("worker.recorder.time", clock)
    hear = Recorder.hear
    monkeypatch.setattr(
        Recorder, "hear", lambda recorder, said: (hear(recorder, said), heard.append(said))
    )

    def hears_more() -> None:
        before = len(heard)
        eventually(lambda: len(heard) >= before + 5)

    bench.control.plan(epochs=1, epoch_seconds=600, progress_per_epoch=6000)
    task_id = bench.post(["cat"])
    with running(bench.supervisor(), task_id):
        eventually(lambda: bench.task(task_id).progress is not None)
        for written in (1, 2):
            hears_more()
            assert len(bench.events(task_id, "progress")) == written
            now[0] += PROGRESS_SECONDS


def test_wrong_input_fails_at_once(bench):
    bench.control.plan(fail="2 pictures cannot be read")
    task = bench.run(["cat"])
    assert task.state == TaskState.FAILED
    assert task.tries == 1
    assert task.error["detail"] == "2 pictures cannot be read"
    assert task.error["type"] == "urn:sats:problem:invalid-dataset"
    assert task.error["errors"] == [
        {"file": "JPEGImages/a.jpg", "class": "cat", "code": "unreadable", "message": "broken"}
    ]
    assert bench.events(task.id)[-1].data["error"] == task.error
    assert not bench.versions()
    bench.assert_clean(task.id)


def test_a_crashed_child_is_started_again_from_its_checkpoint(bench):
    bench.control.plan(epochs=3, crash_epoch=2)
    task_id = bench.post(["cat"])
    supervisor = bench.supervisor()
    assert supervisor.run(task_id) == TaskState.QUEUED
    assert supervisor.run(task_id) == TaskState.LIVE
    assert [start.epoch for start in bench.control.starts()] == [0, 2]
    assert bench.task(task_id).tries == 0, "it got further"
    assert len(bench.versions()) == 1
    bench.assert_clean(task_id)


def test_tries_that_get_further_do_not_count(bench):
    """Three losses, each after an epoch more: what three suspends of a machine come to."""
    task_id = bench.post(["cat"])
    supervisor = bench.supervisor()
    for epoch in (1, 2, 3):
        bench.control.plan(epochs=5, crash_epoch=epoch, crash_starts=99)
        assert supervisor.run(task_id) == TaskState.QUEUED
        assert bench.task(task_id).tries == 0
    bench.control.plan(epochs=5)
    assert supervisor.run(task_id) == TaskState.LIVE


def test_tries_that_only_repeat_epochs_count(bench):
    """Where the checkpoint is lost with the process, epochs are finished, but never one more."""
    bench.control.plan(epochs=3, crash_epoch=1, crash_starts=99)
    task_id = bench.post(["cat"])
    supervisor = bench.supervisor()
    lived = []
    for _ in range(4):
        lived.append(supervisor.run(task_id))
        bench.settings.work_dir.joinpath(task_id, "checkpoints", CHECKPOINT).unlink(missing_ok=True)
    queued = TaskState.QUEUED
    assert lived == [queued, queued, queued, TaskState.FAILED], "the first one finished an epoch"


def test_a_failed_task_is_tried_again_from_its_checkpoint(bench):
    bench.control.plan(epochs=3, crash_epoch=2, crash_starts=4)
    task_id = bench.post(["cat"])
    supervisor = bench.supervisor(max_tries=1)
    assert supervisor.run(task_id) == TaskState.QUEUED, "it got further"
    assert supervisor.run(task_id) == TaskState.FAILED
    bench.assert_kept(task_id)
    bench.retry(task_id)
    task = bench.task(task_id)
    assert (task.state, task.tries, task.error, task.finished_at) == ("queued", 0, None, None)
    assert bench.states(task_id)[-2:] == ["failed", "queued"]
    bench.control.plan(epochs=3)
    assert supervisor.run(task_id) == TaskState.LIVE
    assert [start.epoch for start in bench.control.starts()] == [0, 2, 2]
    bench.assert_clean(task_id)


def test_a_step_tried_again_starts_from_the_same_version_and_one_without_looks_again(bench):
    bench.control.plan(fail="broken")
    base, step = bench.post(["cat"]), bench.post(["dog"], seed=1)
    supervisor = bench.supervisor()
    assert [supervisor.run(task) for task in (base, step)] == [TaskState.FAILED] * 2
    bench.control.plan()
    bench.retry(step)
    bench.retry(base)
    assert supervisor.run(step) is None, "the base was posted first"
    assert [supervisor.run(task) for task in (base, step)] == [TaskState.LIVE] * 2
    first, second = bench.versions()
    assert second.parent_id == first.id
    bench.control.plan(fail="broken")
    third = bench.run(["cow"], seed=2)
    bench.control.plan()
    bench.move_live(first)
    bench.retry(third.id)
    assert supervisor.run(third.id) == TaskState.HELD
    assert bench.versions()[2].parent_id == second.id


def test_tries_are_bounded(bench):
    bench.control.plan(crash_epoch=0, crash_starts=99)
    task_id = bench.post(["cat"])
    supervisor = bench.supervisor()
    lived = [supervisor.run(task_id) for _ in range(3)]
    assert lived == [TaskState.QUEUED, TaskState.QUEUED, TaskState.FAILED]
    task = bench.task(task_id)
    assert task.error["type"] == "urn:sats:problem:process-killed"
    assert "3 times without getting further" in task.error["detail"]
    assert ":retry" in task.error["detail"]
    assert "SIGKILL" in task.error["detail"]
    assert supervisor.run(task_id) is None
    bench.assert_clean(task_id)


def test_a_child_that_ends_without_a_result_costs_a_try(bench):
    bench.control.plan(write_result=False)
    task_id = bench.post(["cat"])
    assert bench.supervisor(max_tries=1).run(task_id) == TaskState.QUEUED, "its epochs count"
    assert bench.supervisor(max_tries=1).run(task_id) == TaskState.FAILED
    assert "status 0" in bench.task(task_id).error["detail"]


def test_a_result_counts_though_the_child_fell_over_on_its_way_out(bench):
    bench.control.plan(exit_status=139)
    assert bench.run(["cat"]).state == TaskState.LIVE


def test_noise_on_stdout_is_passed_over(bench):
    bench.control.plan(noise=True)
    assert bench.run(["cat"]).state == TaskState.LIVE


def test_a_dead_child_is_noticed_though_its_own_child_holds_the_pipe(bench):
    bench.control.plan(orphan=True, crash_epoch=0)
    task_id = bench.post(["cat"])
    began = time.monotonic()
    assert bench.supervisor().run(task_id) == TaskState.QUEUED
    assert time.monotonic() - began < 20


def test_a_bug_of_ours_costs_a_try_and_says_so(bench, monkeypatch):
    monkeypatch.setattr("worker.supervisor.prepare", lambda *_: 1 / 0)
    task_id = bench.post(["cat"])
    assert bench.supervisor(max_tries=2).run(task_id) == TaskState.QUEUED
    assert bench.supervisor(max_tries=2).run(task_id) == TaskState.FAILED
    assert "its log says which" in bench.task(task_id).error["detail"]


def test_only_what_waits_is_run(bench):
    task_id = bench.post(["cat"])
    with write_session(bench.engine) as session:
        assert claim(session, task_id, "somebody", 30) is not None
    assert bench.supervisor().run(task_id) is None
    assert bench.supervisor().run("no such task") is None
    assert not bench.control.starts()
