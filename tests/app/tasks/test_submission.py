"""Whether a request is the one that its Idempotency-Key stands for."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from app.db import Task, read_session, utc_now, write_session
from app.errors import IdempotencyKeyReusedProblem
from app.storage import Blob
from app.tasks.schemas import TaskSpec
from app.tasks.submission import Submission, submit
from tests.app.tasks.posting import SPEC

BEFORE_PARENT = "bd96d060ee010c9274211c1879e9275682d2fd3b81e4086bd9a682dfd2ca0b55"
"""Digest of `SPEC` as "pets", written when a spec had no `parent` yet."""


def submission(**spec: object) -> Submission:
    wanted = TaskSpec.model_validate({**SPEC, "name": "pets", **spec})
    return Submission(wanted, Blob("0" * 64, 1), "eva", "key")


def test_a_key_used_before_there_were_parents_still_stands_for_its_request(engine):
    with write_session(engine) as session:
        task, _ = submit(session, submission())
        task.request_digest = BEFORE_PARENT
    with write_session(engine) as session:
        again, replayed = submit(session, submission())
        assert (again.id, replayed) == (task.id, True)
        with pytest.raises(IdempotencyKeyReusedProblem):
            submit(session, submission(parent=1))


def test_every_parent_is_another_request():
    digests = {submission(**spec).digest for spec in ({}, {"parent": 1}, {"parent": 2})}
    assert len(digests) == 3
    assert submission(parent=None).digest == submission().digest


def test_with_a_preview_it_is_another_request():
    assert submission(preview=True).digest != submission().digest
    assert submission(preview=False).digest == submission().digest


def test_a_clock_that_runs_behind_puts_no_task_before_those_that_wait(engine, monkeypatch):
    """Servers have clocks of their own, and one of them is late."""

    def queued(**spec: object) -> Task:
        with write_session(engine) as session:
            wanted = TaskSpec.model_validate({**SPEC, "name": "pets", **spec})
            return submit(session, Submission(wanted, Blob("0" * 64, 1), "eva", None))[0]

    first = queued()
    monkeypatch.setattr("app.tasks.submission.utc_now", lambda: utc_now() - timedelta(hours=1))
    second, third = queued(preview=True), queued()
    with read_session(engine) as session:
        order = select(Task.id, Task.preview_of).order_by(Task.created_at)
        rows = session.execute(order).all()
    assert [row.preview_of for row in rows] == [None, second.id, None, None]
    assert [row.id for row in rows if row.preview_of is None] == [first.id, second.id, third.id]
