"""A task that no living worker may take fails after a while, and no earlier."""

import threading

import pytest
from sqlalchemy import select, update

from app.db import (
    DeviceKind,
    Task,
    TaskEvent,
    TaskState,
    Worker,
    database_now,
    read_session,
    write_session,
)
from app.doctor.finding import Installation
from app.doctor.history import find_broken_histories
from app.tasks.service import describe
from app.workers.needs import Resources
from app.workers.unmet import GAP_SECONDS, NOTED_SECONDS
from tests.worker.bench import CPU
from tests.worker.test_sweeper import sweeper
from worker.claim import claim
from worker.device import Device
from worker.presence import Presence
from worker.unmet import fail_unmet

HOURS = 2.0
GPU = Resources(DeviceKind.CUDA, 24_000)


@pytest.fixture(autouse=True)
def worker(bench):
    """A worker without a GPU is alive."""
    return comes(bench)


def comes(bench, name="cpu", has=CPU):
    made = Presence(bench.engine, f"{name}:1-a", "1.2.3", Device(name, 1, has), 600.0)
    made.beat()
    return made


def goes(bench, name):
    with write_session(bench.engine) as session:
        session.execute(update(Worker).where(Worker.host == name).values(alive_until=1.0))


def passes(bench, hours, looked=True):
    """Let time pass, in which somebody looked, or nobody did."""
    by = hours * 3600
    with write_session(bench.engine) as session:
        values = {"unmet_since": Task.unmet_since - by}
        if not looked:
            values["unmet_seen"] = Task.unmet_seen - by
        session.execute(update(Task).values(**values))


def fail(bench, hours=HOURS):
    return list(fail_unmet(bench.engine, hours))


def test_it_fails_when_its_time_is_over_and_the_next_one_goes_on(bench):
    stuck = bench.post(["cat"], device="cuda", min_memory_mib=80_000)
    waits = bench.post(["cat"], seed=1)
    made, woken = sweeper(bench, unmet_hours=HOURS)
    made.sweep()
    assert bench.state(stuck) == TaskState.QUEUED
    assert woken == [], "it is not overtaken"
    with read_session(bench.engine) as session:
        told = describe(session, session.get_one(Task, waits)).waiting_for
    assert told == "no worker with a GPU is alive, which the first task of its model needs"
    passes(bench, HOURS + 0.1)
    made.sweep()
    assert bench.state(stuck) == TaskState.FAILED
    error = bench.task(stuck).error
    assert error["type"] == "urn:sats:problem:worker-missing"
    assert error["detail"].startswith("no worker with a GPU is alive, and none was for 2 hours")
    assert {one["field"] for one in error["errors"]} == {"spec.device", "spec.min_memory_mib"}
    assert bench.task(stuck).finished_at is not None
    assert woken == [waits]
    with read_session(bench.engine) as session:
        events = select(TaskEvent.data).where(TaskEvent.task_id == stuck, TaskEvent.kind == "state")
        assert [data["state"] for data in session.scalars(events)][-1] == "failed"
    assert find_broken_histories(Installation.of(bench.engine, bench.settings)) == []


def test_it_can_be_tried_again_once_such_a_worker_is_there(bench):
    stuck = bench.post(["cat"], device="cuda")
    fail(bench)
    passes(bench, HOURS + 0.1)
    assert fail(bench) == [stuck]
    bench.retry(stuck)
    assert fail(bench) == [], "its time starts anew"
    comes(bench, "gpu", GPU)
    with write_session(bench.engine) as session:
        assert claim(session, stuck, "gpu", 30.0) is not None


def test_all_that_wait_so_fail_at_once(bench):
    stuck = [bench.post(["cat"], seed=seed, device="cuda") for seed in range(3)]
    other = bench.post(["cat"], model="b", min_memory_mib=CPU.memory_mib + 1)
    met = bench.post(["cat"], model="c", device="cpu", min_memory_mib=CPU.memory_mib)
    fail(bench)
    passes(bench, HOURS + 0.1)
    assert fail(bench) == [*stuck, other]
    assert bench.state(met) == TaskState.QUEUED


def test_time_from_before_the_clock_was_set_back_is_not_waited_for(bench):
    stuck = bench.post(["cat"], device="cuda")
    fail(bench)
    passes(bench, -365 * 24, looked=False)
    assert fail(bench) == []
    passes(bench, HOURS + 0.1)
    assert fail(bench) == [stuck]


def test_where_such_a_worker_came_meanwhile_time_starts_anew(bench):
    bench.post(["cat"], device="cuda")
    fail(bench)
    passes(bench, HOURS + 0.1)
    comes(bench, "gpu", GPU)
    assert fail(bench) == []
    goes(bench, "gpu")
    assert fail(bench) == []
    passes(bench, HOURS - 0.1)
    assert fail(bench) == []
    passes(bench, 0.2)
    assert len(fail(bench)) == 1


def test_time_in_which_nobody_looked_counts_for_nothing(bench):
    bench.post(["cat"], device="cuda")
    fail(bench)
    passes(bench, 100 * HOURS, looked=False)
    assert fail(bench) == [], "all workers were off, and the GPUs come last"
    passes(bench, HOURS + 0.1)
    assert len(fail(bench)) == 1


def test_where_no_worker_is_alive_nothing_is_noted(bench):
    stuck = bench.post(["cat"], device="cuda")
    goes(bench, "cpu")
    fail(bench)
    assert bench.task(stuck).unmet_since is None
    comes(bench, "again")
    fail(bench)
    passes(bench, HOURS + 0.1)
    goes(bench, "again")
    assert fail(bench) == []


def test_a_setting_lets_it_wait_for_ever(bench):
    stuck = bench.post(["cat"], device="cuda")
    assert list(fail_unmet(bench.engine, None)) == []
    assert bench.task(stuck).unmet_since is None


def test_what_is_taken_is_noted_no_more(bench):
    stuck = bench.post(["cat"], device="cuda")
    fail(bench)
    assert bench.task(stuck).unmet_since is not None
    with write_session(bench.engine) as session:
        assert claim(session, stuck, "gpu", 30.0) is not None
    task = bench.task(stuck)
    assert (task.unmet_since, task.unmet_seen) == (None, None)


def test_nothing_is_written_while_nothing_changes(bench):
    stuck = bench.post(["cat"], device="cuda")
    fail(bench)
    seen = bench.task(stuck).unmet_seen
    fail(bench)
    assert bench.task(stuck).unmet_seen == seen
    with write_session(bench.engine) as session:
        ago = database_now() - NOTED_SECONDS - 1
        session.execute(update(Task).values(unmet_seen=ago))
    fail(bench)
    assert bench.task(stuck).unmet_seen >= seen
    assert NOTED_SECONDS < GAP_SECONDS / 2, "a look that failed is no gap"


@pytest.mark.races
def test_two_that_look_at_once_fail_it_once(bench):
    stuck = bench.post(["cat"], device="cuda")
    fail(bench)
    passes(bench, HOURS + 0.1)
    found: list[str] = []
    gate = threading.Barrier(4)

    def look() -> None:
        gate.wait(30)
        found.extend(fail(bench))

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [stuck]
