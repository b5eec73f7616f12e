"""Whether a request is the one that its Idempotency-Key stands for."""

import pytest

from app.db import write_session
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
