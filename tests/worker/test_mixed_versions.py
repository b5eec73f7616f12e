"""During an upgrade: workers of the release before beside an API and workers of this one."""

import os
import signal
import subprocess
import sys

import pytest

from app.db import TaskState
from tests.fixtures.missing import missing
from tests.worker.bench import eventually
from tests.worker.released import old_worker, path_of, unpack
from tests.worker.test_end_to_end import pictures, post, wait

SCRIPTED, REAL = "tests.worker.scripted_worker", "worker.celery_app"
LIVE = TaskState.LIVE


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """The release before; its own packages are imported from there."""
    unpacked = unpack(tmp_path_factory.mktemp("released"))
    if unpacked is None:
        missing("git has no release before this one here (a shallow clone?)")
    return unpacked


@pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
def test_what_is_imported_is_the_old_release(tree, database_url):
    told = subprocess.run(
        [sys.executable, "-P", "-c", "import app, worker, sats_core as c; print(c.__file__)"],
        cwd=tree,
        env={**os.environ, **path_of(tree)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.startswith(str(tree))


def test_an_old_worker_runs_what_is_posted_to_this_release(bench, tree):
    task_id = bench.post(["cat"])
    with old_worker(bench, tree, SCRIPTED):
        bench.wake(task_id)
        bench.ends(task_id, LIVE)
        bench.assert_clean(task_id)


def test_what_an_old_worker_puts_back_a_new_one_finishes(bench, tree):
    bench.control.plan(epochs=1_000, epoch_seconds=1)
    task_id = bench.post(["cat"])
    with old_worker(bench, tree, SCRIPTED) as worker:
        bench.wake(task_id)
        bench.trains(task_id)
        worker.terminate()
    bench.control.plan(epochs=1)
    assert bench.state(task_id) == TaskState.QUEUED
    with bench.worker():
        bench.ends(task_id, LIVE)
    assert len(bench.control.starts()) == 2
    assert len(bench.versions()) == 1


def test_what_a_new_worker_left_an_old_one_finishes(bench, tree):
    """As when an upgrade is taken back."""
    bench.control.plan(epochs=1_000, epoch_seconds=1)
    task_id = bench.post(["cat"])
    with bench.worker() as worker:
        bench.wake(task_id)
        bench.trains(task_id)
        worker.terminate()
    bench.control.plan(epochs=1)
    with old_worker(bench, tree, SCRIPTED):
        bench.ends(task_id, LIVE)
    assert len(bench.control.starts()) == 2
    assert len(bench.versions()) == 1


def test_old_and_new_workers_never_run_a_task_twice(bench, tree):
    bench.settings = bench.settings.model_copy(update={"lease_seconds": 120.0})
    posted = [bench.post(["cat"], model=f"model-{number}", seed=number) for number in range(6)]
    with old_worker(bench, tree, SCRIPTED), bench.worker():
        for task_id in posted * 2:
            bench.wake(task_id)
        for task_id in posted:
            bench.ends(task_id, LIVE)
    assert len(bench.control.starts()) == len(posted)


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["served"], indirect=True)
def test_the_old_core_learns_and_the_new_one_learns_on_from_it(bench, served, tree, tmp_path):
    with old_worker(bench, tree, REAL):
        first = post(served, pictures(tmp_path, ["circle", "square"], 1))
        assert wait(served, first)["outcome"] == "live"
    with bench.worker(REAL):
        second = post(served, pictures(tmp_path, ["star"], 2))
        done = wait(served, second)
    assert (done["outcome"], done["version"], done["error"]) == ("live", 2, None)
    version = served.get(done["links"]["version"]).json()
    assert version["lineage"] == [1, 2]


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["served"], indirect=True)
def test_a_step_that_the_old_core_began_is_finished_by_the_new_one(bench, served, tree, tmp_path):
    """From its checkpoint: what this release trains is still the same."""
    with old_worker(bench, tree, REAL) as worker:
        task = post(served, pictures(tmp_path, ["circle", "square"], 1), epochs=6)
        eventually(lambda: len(bench.events(task["id"], "epoch")) >= 1, 120)
        worker.process.send_signal(signal.SIGTERM)
        worker.process.wait(60)
    assert not bench.versions()
    with bench.worker(REAL):
        assert wait(served, task)["outcome"] == "live"
    assert len(bench.versions()) == 1
    epochs = [event.data["epoch"] for event in bench.events(task["id"], "epoch")]
    assert epochs == sorted(set(epochs)), "none is done again"
    assert epochs[-1] == 6
    # What the old worker's child said while it ended may be missing: that release lets it go.
    assert len(epochs) >= 5
