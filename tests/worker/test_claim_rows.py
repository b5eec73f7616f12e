"""What every arrow of a task's life writes: row, events, webhooks. SQLite is enough for that."""

import pytest
from sqlalchemy import event, select

from app.db import (
    END_STATES,
    Task,
    TaskEvent,
    TaskKind,
    TaskState,
    Webhook,
    WebhookDelivery,
    database_now,
    read_session,
    write_session,
)
from tests.fixtures.versions import add_version
from tests.worker.bench import CPU
from tests.worker.conftest import LEASE, LOST, lapse
from worker import claim as claims
from worker.claim import Claim, LeaseLostError
from worker.turns import next_task

pytestmark = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)


@pytest.fixture
def events(engine):
    """Return what was told of a task so far."""

    def read(task_id):
        told = select(TaskEvent).where(TaskEvent.task_id == task_id).order_by(TaskEvent.id)
        with read_session(engine) as session:
            return [(event.kind, event.data) for event in session.scalars(told)]

    return read


@pytest.fixture
def left(engine):
    """Return how long a task's lease still holds."""

    def read(task_id):
        lease = select(Task.lease_until - database_now()).where(Task.id == task_id)
        with read_session(engine) as session:
            return session.scalar(lease)

    return read


def change(engine, task_id, **values):
    with write_session(engine) as session:
        task = session.get_one(Task, task_id)
        for name, value in values.items():
            setattr(task, name, value)


@pytest.mark.parametrize(
    ("kind", "spec", "parent"),
    [
        (TaskKind.STEP, {}, "live"),
        (TaskKind.STEP, {"parent": 1}, "first"),
        (TaskKind.RETIRE, {"parent": 1}, "first"),
        (TaskKind.IMPORT, {"parent": 1}, None),
    ],
)
def test_the_first_claim_fixes_what_a_step_starts_from(
    post, row, do, engine, blobs, kind, spec, parent
):
    with write_session(engine) as session:
        first = add_version(session, blobs, ["cat"]).id
        live = add_version(session, blobs, ["dog"]).id
    task_id = post()
    change(engine, task_id, kind=kind, spec=spec)
    claimed = do(claims.claim, task_id, "w", LEASE)
    task = row(task_id)
    assert task.parent_id == {"live": live, "first": first, None: None}[parent]
    assert task.live_id == live
    do(claims.give_back, claimed)
    with write_session(engine) as session:
        add_version(session, blobs, ["cow"])
    do(claims.claim, task_id, "w", LEASE)
    assert (row(task_id).parent_id, row(task_id).live_id) == (task.parent_id, live)


def test_a_step_starts_from_what_its_preview_started_from(post, row, do, engine, blobs):
    task_id = post()
    with write_session(engine) as session:
        base = add_version(session, blobs, ["cat"])
        quick = add_version(session, blobs, ["dog"])
        session.get_one(Task, quick.task_id).preview_of = task_id
    do(claims.claim, task_id, "w", LEASE)
    assert (row(task_id).parent_id, row(task_id).live_id) == (base.id, quick.id)


@pytest.mark.parametrize("state", END_STATES)
def test_a_task_that_ended_is_not_claimed(post, do, state):
    claimed = do(claims.claim, post(), "w", LEASE)
    do(claims.end, claimed, state)
    assert do(claims.claim, claimed.task_id, "w", LEASE) is None


def test_a_task_that_is_claimed_lacks_no_worker_any_more(post, row, do, engine):
    task_id = post()
    change(engine, task_id, unmet_since=1.0, unmet_seen=2.0)
    do(claims.claim, task_id, "w", LEASE)
    assert (row(task_id).unmet_since, row(task_id).unmet_seen) == (None, None)


def test_no_claim_stumbles_over_a_task_that_runs(post, do, engine):
    """The index is for claims that did not see each other: Postgres logs what it stops."""
    first, second = post(), post()
    do(claims.claim, first, "w", LEASE)
    errors = []
    event.listen(engine, "handle_error", errors.append)
    assert do(claims.claim, second, "w", LEASE) is None
    assert not errors


def test_of_two_claims_that_did_not_see_each_other_the_index_lets_one_through(
    post, do, row, monkeypatch
):
    monkeypatch.setattr(claims, "next_of_its_model", lambda task: task.id == task.id)
    first, second = post(), post()
    assert do(claims.claim, first, "w", LEASE) == Claim(first, 1)
    assert do(claims.claim, second, "w", LEASE) is None
    assert row(second).state == TaskState.QUEUED


def test_a_lease_is_renewed_from_now_on(post, do, left):
    claimed = do(claims.claim, post(), "w", LEASE)
    assert do(claims.renew, claimed, 3 * LEASE) is False
    assert 2 * LEASE < left(claimed.task_id) <= 3 * LEASE


def test_a_step_that_runs_tells_of_it(post, do, row, events):
    claimed = do(claims.claim, post(), "w", LEASE)
    do(claims.enter, claimed, TaskState.TRAINING)
    do(claims.report, claimed, {"epoch": 0, "step": 1}, epoch_end=False)
    do(claims.report, claimed, {"epoch": 1, "step": 2}, epoch_end=True)
    do(claims.warn, claimed, "beware")
    do(claims.warn, claimed, "beware")
    assert events(claimed.task_id) == [
        ("state", {"state": "validating"}),
        ("state", {"state": "training"}),
        ("progress", {"epoch": 0, "step": 1}),
        ("epoch", {"epoch": 1, "step": 2}),
        ("warning", {"message": "beware"}),
    ]
    task = row(claimed.task_id)
    assert (task.state, task.progress) == (TaskState.TRAINING, {"epoch": 1, "step": 2})
    assert task.warnings == ["beware"]


def test_an_epoch_of_another_task_is_no_progress_of_this_one(post, do, row):
    other = do(claims.claim, post("a"), "w", LEASE)
    do(claims.report, other, {"epoch": 5}, epoch_end=True)
    claimed = do(claims.claim, post("b"), "w", LEASE)
    do(claims.report, claimed, {"epoch": 2}, epoch_end=True)
    assert row(claimed.task_id).tries == 0


@pytest.mark.parametrize(("tries", "after"), [(0, 0), (1, 0), (3, 2)])
def test_a_task_given_back_waits_as_if_it_had_not_been_tried(
    post, do, row, engine, events, tries, after
):
    claimed = do(claims.claim, post(), "w", LEASE)
    do(claims.report, claimed, {"epoch": 0}, epoch_end=False)
    change(engine, claimed.task_id, tries=tries)
    assert do(claims.give_back, claimed) == TaskState.QUEUED
    task = row(claimed.task_id)
    assert (task.state, task.tries, task.progress) == (TaskState.QUEUED, after, None)
    assert (task.worker, task.lease_until, task.fence) == (None, None, claimed.fence + 1)
    assert events(claimed.task_id)[-1] == ("state", {"state": "queued"})


def test_a_batch_is_halved_once_more_each_time_and_the_reason_is_a_warning(post, do, row, events):
    task_id = post()
    for times in (1, 2):
        claimed = do(claims.claim, task_id, "w", LEASE)
        assert do(claims.halve, claimed, f"less {times}") == TaskState.QUEUED
        assert (row(task_id).halvings, row(task_id).tries) == (times, 0)
    assert row(task_id).warnings == ["less 1", "less 2"]
    assert ("warning", {"message": "less 2"}) in events(task_id)


@pytest.mark.parametrize("how", ["retry", "sweep"])
def test_a_try_that_was_lost_counts_and_the_last_one_fails_the_task(
    post, do, row, engine, events, how
):
    task_id = post()

    def lose(most):
        claimed = do(claims.claim, task_id, "w", LEASE)
        if how == "retry":
            return do(claims.retry, claimed, most, LOST)
        lapse(engine, task_id)
        return do(claims.sweep, task_id, most, LOST)

    assert lose(2) == TaskState.QUEUED
    assert row(task_id).tries == 1
    assert lose(2) == TaskState.FAILED
    said = {**LOST.body(), "detail": "started 2 times without getting further. lost"}
    assert row(task_id).error == said
    assert events(task_id)[-1] == ("state", {"state": "failed", "error": said})


@pytest.mark.parametrize("give_up", [claims.give_back, lambda s, c: claims.retry(s, c, 9, LOST)])
def test_a_task_that_was_to_be_cancelled_is_told_as_such(post, do, engine, events, give_up):
    claimed = do(claims.claim, post(), "w", LEASE)
    assert do(claims.hold, claimed) is False
    change(engine, claimed.task_id, cancel_requested=True)
    assert do(claims.hold, claimed) is True
    assert do(give_up, claimed) == TaskState.CANCELLED
    assert events(claimed.task_id)[-1] == ("state", {"state": "cancelled"})


def test_an_end_is_written_told_and_thins_out_the_tasks_own_progress(
    post, do, row, engine, blobs, events
):
    with write_session(engine) as session:
        version = add_version(session, blobs, ["cat"], model="b").id
        session.add(Webhook(url="http://x", events=["task.ended"], salt=""))
    other = do(claims.claim, post("a"), "w", LEASE)
    do(claims.report, other, {"epoch": 0}, epoch_end=False)
    claimed = do(claims.claim, post("b"), "w", LEASE)
    do(claims.report, claimed, {"epoch": 0}, epoch_end=False)
    do(claims.report, claimed, {"epoch": 1}, epoch_end=True)
    assert do(claims.end, claimed, TaskState.LIVE, version=(version, 7)) == TaskState.LIVE
    task = row(claimed.task_id)
    assert (task.state, task.version_id, task.error) == (TaskState.LIVE, version, None)
    assert (task.worker, task.lease_until, task.fence) == (None, None, claimed.fence + 1)
    assert task.finished_at >= task.started_at
    assert events(claimed.task_id) == [
        ("state", {"state": "validating"}),
        ("epoch", {"epoch": 1}),
        ("state", {"state": "live", "version": 7}),
    ]
    assert ("progress", {"epoch": 0}) in events(other.task_id)
    do(claims.end, other, TaskState.HELD)
    last = do(claims.claim, post("b"), "w", LEASE)
    do(claims.end, last, TaskState.FAILED, error={"title": "lost"})
    with read_session(engine) as session:
        told = [delivery.payload for delivery in session.scalars(select(WebhookDelivery))]
    said = {t["task"]: [t["data"][name] for name in ("outcome", "version", "error")] for t in told}
    assert said == {
        claimed.task_id: ["live", 7, None],
        other.task_id: ["held", None, None],
        last.task_id: [None, None, {"title": "lost"}],
    }
    assert len(told) == len(said)


def test_whoever_holds_a_task_no_more_is_told_so_by_its_fence(post, do, row):
    claimed = do(claims.claim, post(), "w", LEASE)
    stale = Claim(claimed.task_id, 0)
    with pytest.raises(LeaseLostError) as caught:
        do(claims.hold, stale)
    assert str(caught.value) == f"task {claimed.task_id} is not under fence 0 any more"
    assert row(claimed.task_id).fence == 1
    do(claims.hold, claimed)
    assert row(claimed.task_id).fence == 1


def test_a_wrong_state_is_named(post, do):
    claimed = do(claims.claim, post(), "w", LEASE)
    with pytest.raises(ValueError, match=r"^live is not a running state$"):
        do(claims.enter, claimed, TaskState.LIVE)
    with pytest.raises(ValueError, match=r"^queued is not an end state$"):
        do(claims.end, claimed, TaskState.QUEUED)


def test_only_a_running_task_whose_lease_ran_out_is_lapsed(post, do, engine):
    waits, runs, lost = post("a"), post("b"), post("c")
    for task_id in (runs, lost):
        do(claims.claim, task_id, "w", LEASE)
    for task_id in (waits, lost):
        lapse(engine, task_id)
    with read_session(engine) as session:
        assert claims.lapsed(session) == [lost]
        assert next_task(session, CPU) == waits
    assert do(claims.sweep, waits, 3, LOST) is None


def test_the_last_checkpoint_takes_the_place_of_the_one_before(post, row, do):
    task_id = post()
    claimed = do(claims.claim, task_id, "w", LEASE)
    assert do(claims.note_checkpoint, claimed, "a" * 64) is None
    assert do(claims.note_checkpoint, claimed, "b" * 64) == "a" * 64
    assert row(task_id).checkpoint == "b" * 64
