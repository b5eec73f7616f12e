"""The real worker: a Celery process over the real broker, killed and stopped for real."""

import os
import signal
import subprocess
import sys
from itertools import pairwise

import pytest

from app.broker import skipped_messages
from app.db import END_STATES, TaskState
from tests.worker.bench import ROOT, eventually, is_gone

LIVE = TaskState.LIVE
UNTIL_ENDED = {"epochs": 3, "gated": 1}
"""A plan of which a child finishes one epoch, and no other however long the test takes."""


def test_a_wake_up_runs_the_task(bench):
    task_id = bench.post(["cat"])
    with bench.worker():
        bench.wake(task_id)
        bench.ends(task_id, LIVE)
        bench.assert_clean(task_id)


def test_a_wake_up_that_was_lost_is_not_missed(bench):
    task_id = bench.post(["cat"])
    with bench.worker():
        bench.ends(task_id, LIVE)
        later = bench.post(["dog"], seed=1)
        bench.ends(later, LIVE)


def test_files_that_are_no_messages_do_not_end_the_worker(bench):
    """Before it starts and while it runs; over Redis there are none."""
    messages = bench.settings.data_dir / "broker" / "messages"
    messages.mkdir(parents=True, exist_ok=True)
    messages.joinpath("0_a.sats.msg").touch()
    messages.joinpath("0_b.sats.msg").write_text('{"body": "W1tdLCB7')
    task_id = bench.post(["cat"])
    with bench.worker() as worker:
        bench.wake(task_id)
        bench.ends(task_id, LIVE)
        messages.joinpath("0_c.sats.msg").touch()
        messages.joinpath("0_d.sats.msg").write_text("[]")
        later = bench.post(["dog"], seed=1)
        bench.wake(later)
        bench.ends(later, LIVE)
        assert worker.process.poll() is None
        if bench.settings.redis_url is None:
            eventually(lambda: skipped_messages(bench.settings) == 4)
            assert worker.log.read_text().count("message_skipped") == 4


def test_one_that_starts_while_the_store_is_away_runs_the_task_when_it_is_back(bench):
    task_id = bench.post(["cat"])
    blobs = bench.settings.blob_dir
    blobs.rename(blobs.with_name("away"))
    blobs.touch()
    with bench.worker() as worker:
        eventually(lambda: len(bench.workers()) == 1, say=worker.log.read_text)
        blobs.unlink()
        blobs.with_name("away").rename(blobs)
        bench.ends(task_id, LIVE)
        bench.assert_clean(task_id)
        assert worker.process.poll() is None


def test_a_wake_up_that_is_doubled_runs_the_task_once(bench):
    # Nobody is lost here: on a busy machine a late heartbeat must not look like it.
    bench.settings = bench.settings.model_copy(update={"lease_seconds": 120.0})
    bench.control.plan(epoch_seconds=0.5)
    task_id = bench.post(["cat"])
    with bench.worker() as one, bench.worker() as other:
        for _ in range(5):
            bench.wake(task_id)
        eventually(lambda: TaskState.TRAINING in bench.states(task_id))
        for _ in range(5):
            bench.wake(task_id)
        bench.ends(task_id, LIVE)
        logs = (one.log, other.log)
        eventually(lambda: sum(log.read_text().count("succeeded in") for log in logs) >= 10)
    assert len(bench.control.starts()) == 1
    assert len(bench.versions()) == 1
    assert bench.task(task_id).tries == 0


def test_killing_the_child_costs_a_try_and_resumes(bench):
    bench.control.plan(**UNTIL_ENDED)
    task_id = bench.post(["cat"])
    with bench.worker():
        bench.wake(task_id)
        bench.trains(task_id)
        bench.control.plan(epochs=3)
        os.kill(bench.child_pid(1), signal.SIGKILL)
        bench.ends(task_id, LIVE)
        bench.assert_clean(task_id)
    assert [start.epoch for start in bench.control.starts()] == [0, 1]
    assert bench.task(task_id).tries == 0, "it got further"
    assert len(bench.versions()) == 1


def test_killing_the_worker_ends_its_child_and_another_worker_resumes(bench):
    bench.control.plan(**UNTIL_ENDED)
    task_id = bench.post(["cat"])
    with bench.worker() as first:
        bench.wake(task_id)
        bench.trains(task_id)
        first.kill()
        child = bench.child_pid(1)
        eventually(lambda: is_gone(child))
        bench.control.plan(epochs=3)
        with bench.worker():
            bench.ends(task_id, LIVE)
            bench.assert_clean(task_id)
    assert [start.epoch for start in bench.control.starts()] == [0, 1]
    assert bench.task(task_id).tries == 0, "it got further"
    assert len(bench.versions()) == 1


def test_killing_the_worker_between_result_and_registration(bench):
    """A worker that kills itself there: the files are staged, nothing is written."""
    task_id = bench.post(["cat"])
    with bench.worker("tests.worker.dying_worker") as first:
        bench.wake(task_id)
        assert first.process.wait(60) == -signal.SIGKILL
    assert bench.versions() == []
    assert bench.settings.work_dir.joinpath(task_id, "result", "result.json").exists()
    left = list(bench.settings.blob_dir.joinpath("incoming").iterdir())
    assert left
    for path in left:
        os.utime(path, (1.0, 1.0))
    with bench.worker():
        bench.ends(task_id, LIVE)
        eventually(lambda: not any(path.exists() for path in left))
        bench.assert_clean(task_id)
    assert len(bench.control.starts()) == 1
    assert len(bench.versions()) == 1
    assert bench.live() == 1


def test_sigterm_gives_the_task_back_at_no_cost(bench):
    bench.control.plan(**UNTIL_ENDED)
    task_id = bench.post(["cat"])
    with bench.worker() as first:
        bench.wake(task_id)
        bench.trains(task_id)
        assert first.terminate() == 0
        task = bench.task(task_id)
        assert (task.state, task.tries, task.lease_until) == ("queued", 0, None)
        assert is_gone(bench.child_pid(1))
    bench.control.plan(epochs=3)
    with bench.worker():
        bench.ends(task_id, LIVE)
    assert [start.epoch for start in bench.control.starts()] == [0, 1]
    assert bench.task(task_id).tries == 0


def test_cancelling_a_running_task(bench):
    bench.control.plan(epoch_seconds=60)
    task_id = bench.post(["cat"])
    with bench.worker():
        bench.wake(task_id)
        eventually(lambda: bench.state(task_id) == TaskState.TRAINING)
        bench.cancel(task_id)
        bench.ends(task_id, TaskState.CANCELLED)
        bench.assert_clean(task_id)
        assert is_gone(bench.child_pid(1))
        bench.control.plan()
        after = bench.post(["dog"], seed=1)
        bench.wake(after)
        bench.ends(after, LIVE)


def test_one_model_one_after_another_two_models_side_by_side(bench):
    bench.control.plan(epochs=1, epoch_seconds=1.5)
    names = ["cat", "dog", "cow"]
    with bench.worker(), bench.worker():
        eventually(lambda: len(bench.workers()) == 2)
        line = [bench.post([name], seed=n) for n, name in enumerate(names)]
        other = bench.post(["car"], model="street", seed=9)
        for task_id in [*reversed(line), other]:
            bench.wake(task_id)
        for task_id in [*line, other]:
            bench.ends(task_id, *END_STATES)
    tasks = [bench.task(task_id) for task_id in line]
    assert [task.state for task in tasks] == [LIVE] * 3
    for before, after in pairwise(tasks):
        assert before.finished_at <= after.started_at
    assert [v.new_classes for v in bench.versions()] == [[name] for name in names]
    assert [v.parent_id for v in bench.versions()] == [None, *(v.id for v in bench.versions()[:2])]
    beside = bench.task(other)
    assert any(
        beside.started_at < task.finished_at and task.started_at < beside.finished_at
        for task in tasks
    )


def test_each_of_two_kinds_of_workers_takes_what_asks_for_it(bench):
    """Whoever hears a wake-up first: both listen where it is sent."""
    bench.control.plan(epochs=1)
    asked = ["cuda", "cpu"]
    tasks = [bench.post(["cat"], model=f"m{n}", device=kind) for n, kind in enumerate(asked)]
    with bench.worker("tests.worker.gpu_worker") as gpu, bench.worker() as cpu:
        for task_id in tasks:
            bench.wake(task_id)
        for task_id in tasks:
            bench.ends(task_id, LIVE)
        for worker, kind in ((gpu, "cuda"), (cpu, "cpu")):
            log = worker.log.read_text()  # it names the tasks that it claimed
            taken = [task_id for task_id in tasks if task_id in log]
            assert taken == [t for t, k in zip(tasks, asked, strict=True) if k == kind]


def test_a_task_that_nobody_may_take_waits_until_somebody_comes_who_may(bench):
    task_id = bench.post(["cat"], device="cuda")
    behind = bench.post(["dog"], model="other", seed=1)
    with bench.worker():
        bench.wake(task_id)
        bench.ends(behind, LIVE)
        assert bench.state(task_id) == TaskState.QUEUED
        with bench.worker("tests.worker.gpu_worker"):
            bench.ends(task_id, LIVE)


@pytest.mark.parametrize("module", ["worker.celery_app", "worker.sweeper"])
def test_the_worker_process_holds_no_torch_and_no_web(module, tmp_path):
    forbidden = {"torch", "torchvision", "timm", "onnxruntime", "fastapi", "starlette", "uvicorn"}
    script = f"import sys, {module}; print(sorted(set(sys.modules) & {forbidden!r}))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "SATS_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
