"""Deeds that want the same rows wait for each other, and never in a circle."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from app.db import Task, TaskState, Webhook, WebhookDelivery, read_session, write_session
from app.registry.service import ensure_model
from app.tasks.service import cancel
from app.webhooks.outbox import WebhookEvent, enqueue
from app.webhooks.schemas import WebhookSpec
from app.webhooks.service import create_webhook, delete_webhook
from tests.fixtures.blocked import blocked
from tests.fixtures.versions import add_version
from tests.worker.bench import eventually
from worker.claim import Claim, end, hold

pytestmark = pytest.mark.parametrize("database_url", ["served"], indirect=True)


@pytest.fixture
def meet(engine):
    """Begin a deed while another is under way; returns it once it is over, or waits."""
    with (
        ThreadPoolExecutor(1) as pool,
        blocked(engine) as waiting,
    ):

        def begin(deed):
            def do():
                with write_session(engine) as session:
                    deed(session)

            begun = pool.submit(do)
            eventually(lambda: begun.done() or waiting() == 1)
            return begun

        yield begin


def add_tasks(engine):
    """Queue a task behind its preview, which a worker runs; returns their ids."""
    with write_session(engine) as session:
        model = ensure_model(session, "default")
        preview, task = (
            Task(
                model=model,
                state=state,
                spec={"name": "n", "model": "default"},
                dataset="0" * 64,
                dataset_bytes=1,
                request_digest="0" * 64,
                warnings=[],
            )
            for state in (TaskState.TRAINING, TaskState.QUEUED)
        )
        for one in (preview, task):
            session.add(one)
            session.flush()
        preview.preview_of = task.id
        return task.id, preview.id


@pytest.fixture
def hook(engine):
    """A webhook that is told of everything."""
    with write_session(engine) as session:
        spec = WebhookSpec(url="https://example.org/", events=list(WebhookEvent))
        return create_webhook(session, spec, private=False).id


def left(engine):
    with read_session(engine) as session:
        return [*session.scalars(select(Webhook)), *session.scalars(select(WebhookDelivery))]


def test_a_task_is_cancelled_while_its_preview_goes_live(engine, blobs, meet):
    task, preview = add_tasks(engine)
    with write_session(engine) as session:
        claim = Claim(preview, session.get_one(Task, preview).fence)
        assert not hold(session, claim)
        cancelling = meet(lambda other: cancel(other, task))
        version = add_version(session, blobs, ["cat"])
        end(session, claim, TaskState.LIVE, version=(version.id, version.number))
    cancelling.result()
    with read_session(engine) as session:
        states = {one.id: one.state for one in session.scalars(select(Task))}
    assert (states[task], states[preview]) == (TaskState.CANCELLED, TaskState.LIVE)


def test_a_webhook_is_deleted_while_a_version_goes_live(engine, blobs, hook, meet):
    with write_session(engine) as session:
        add_version(session, blobs, ["cat"])
        deleting = meet(lambda other: delete_webhook(other, hook))
        enqueue(session, WebhookEvent.TASK_ENDED, "default", {})
    deleting.result()
    assert left(engine) == []


def test_a_webhook_that_is_deleted_fails_no_deed_that_it_is_told_of(engine, hook, meet):
    with write_session(engine) as session:
        enqueue(session, WebhookEvent.TASK_ENDED, "default", {})
        deleting = meet(lambda other: delete_webhook(other, hook))
    deleting.result()
    assert left(engine) == []
