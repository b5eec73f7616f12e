"""Whether a request is the one that its Idempotency-Key stands for."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from app.db import Task, database_now, read_session, write_session
from app.errors import IdempotencyKeyReusedProblem
from app.imports.schemas import ImportSpec
from app.retirement.schemas import RetireSpec, RetireWish
from app.storage import Blob
from app.tasks.listing import list_tasks
from app.tasks.posted import PostedTask
from app.tasks.schemas import TaskSpec
from app.tasks.service import describe_listed
from app.tasks.submission import Submission, submit
from tests.app.tasks.posting import SPEC

BEFORE_PARENT = "bd96d060ee010c9274211c1879e9275682d2fd3b81e4086bd9a682dfd2ca0b55"
"""Digest of `SPEC` as "pets", written when a spec had no `parent` yet."""

RETIREMENT_BEFORE = "a0a99cb2bf86196403b489857e05bf34804f73a534d6fe4f27ced6a7c157fb3d"
"""Digest of `{"classes": ["fish"], "depth": "unlearn"}` for version 3 of "default", written while
digests held defaults, and 10 epochs were one."""

RETIREMENT_SAID = "820d49e1268af18ff1e7456653c348c861cde5e434f2d4e337c5ce0405520714"
"""The same with 60 epochs, which are said; its gate had no `hold_on_unmeasured` yet."""

RETIREMENT = {
    "name": "retire fish",
    "model": "default",
    "parent": 3,
    "classes": ["fish"],
    "depth": "hide",
    "gate": {},
}


def submission(**spec: object) -> Submission:
    wanted = TaskSpec.model_validate({**SPEC, "name": "pets", "create": False, **spec})
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


def test_a_key_used_while_another_method_was_the_default_still_stands_for_its_request(engine):
    """`BEFORE_PARENT` is of that time too; its task keeps the method that it was stored with."""
    with write_session(engine) as session:
        task, _ = submit(session, submission(method="sats_plus"))
        task.request_digest = BEFORE_PARENT
    with write_session(engine) as session:
        again, replayed = submit(session, submission())
        assert (again.id, replayed, again.spec["method"]) == (task.id, True, "sats_plus")
        with pytest.raises(IdempotencyKeyReusedProblem):
            submit(session, submission(method="frozen"))


def test_what_is_said_and_what_is_the_default_are_two_requests(engine):
    """Another version of the service may have another default."""
    with write_session(engine) as session:
        task, _ = submit(session, submission())
        assert task.spec["method"] == "frozen"
        assert submit(session, submission())[1]
        for said in ({"method": "frozen"}, {"method": "sats_plus"}, {"epochs": 30}):
            with pytest.raises(IdempotencyKeyReusedProblem):
                submit(session, submission(**said))


def test_a_key_used_while_1_and_1_0_were_two_requests_still_stands_for_its_own():
    def read(kind: type[TaskSpec], weight: float) -> Submission:
        posted = {"name": "pets", "method": "sats", "method_settings": {"attention_weight": weight}}
        return Submission(kind.model_validate(posted), Blob("0" * 64, 1), "eva", "key")

    for weight in (1, 1.0):
        then, now = read(TaskSpec, weight), read(PostedTask, weight)
        assert now.asked_as(then.digest), "as it was typed"
    one, same = read(PostedTask, 1), read(PostedTask, 1.0)
    assert one.digest == same.digest
    assert one.spec.model_dump_json() == same.spec.model_dump_json(), "one step, by its settings"
    assert not read(PostedTask, 2).asked_as(read(TaskSpec, 1).digest)


class LaterTask(TaskSpec):
    """A task as a later version of the service may read it."""

    epochs: int = 40
    backbone: str = "pvt_v2_b1"
    tile: int = 7


class LaterImport(ImportSpec):
    """An import likewise."""

    features: int = 8000
    tile: int = 7


class LaterRetirement(RetireSpec):
    """A retirement likewise."""

    epochs: int = 20
    tile: int = 7


@pytest.mark.parametrize(
    ("now", "later", "posted"),
    [
        (TaskSpec, LaterTask, {"name": "pets", "gate": {"max_drop": 0.1}}),
        (ImportSpec, LaterImport, {"name": "street", "model": "default", "promote": False}),
        (RetireSpec, LaterRetirement, RETIREMENT),
    ],
)
def test_a_default_that_changes_makes_no_other_request(now, later, posted):
    dataset = Blob("0" * 64, 1)
    before = Submission(now.model_validate(posted), dataset, "eva", "key")
    if now is RetireSpec:  # its data set is its spec, with the defaults of then
        dataset = Blob("1" * 64, 1)
    after = Submission(later.model_validate(posted), dataset, "eva", "key")
    assert after.digest == before.digest
    assert after.asked_as(before.digest)
    evaluated = Submission(later.model_validate(posted), dataset, "eva", "key", Blob("2" * 64, 1))
    assert evaluated.digest != after.digest


def test_of_a_retirement_what_was_not_posted_is_not_set():
    wish = RetireWish.model_validate({"classes": ["fish"], "depth": "hide", "gate": {}})
    said = wish.spec("default", 3).model_dump(mode="json", exclude_unset=True)
    assert said == RETIREMENT


def retirement(**said: object) -> Submission:
    wish = RetireWish.model_validate({"classes": ["fish"], "depth": "unlearn", **said})
    return Submission(wish.spec("default", 3), Blob("0" * 64, 1), "eva", "key")


def test_a_retirement_s_key_from_before_still_stands_for_its_request():
    assert retirement().asked_as(RETIREMENT_BEFORE)
    for said in ({"epochs": 60}, {"classes": ["cow"]}, {"seed": 1}):
        assert not retirement(**said).asked_as(RETIREMENT_BEFORE)


def test_so_does_one_whose_gate_could_not_speak_of_what_nobody_measured():
    assert retirement(epochs=60).asked_as(RETIREMENT_SAID)
    assert retirement(epochs=60, gate={"hold_on_unmeasured": None}).asked_as(RETIREMENT_SAID)
    for asked in (True, False):
        said = {"hold_on_unmeasured": asked}
        assert not retirement(epochs=60, gate=said).asked_as(RETIREMENT_SAID)


def test_every_parent_is_another_request():
    digests = {submission(**spec).digest for spec in ({}, {"parent": 1}, {"parent": 2})}
    assert len(digests) == 3


def test_with_a_preview_it_is_another_request():
    how = {"method": "sats_plus"}
    assert submission(preview=True, **how).digest != submission(**how).digest


def test_a_clock_that_steps_back_puts_no_task_before_those_that_wait(engine):
    def queued(**spec: object) -> Task:
        with write_session(engine) as session:
            wanted = TaskSpec.model_validate({**SPEC, "name": "pets", "create": False, **spec})
            return submit(session, Submission(wanted, Blob("0" * 64, 1), "eva", None))[0]

    first = queued()
    with write_session(engine) as session:
        session.get_one(Task, first.id).created_at += timedelta(hours=1)
    second, third = queued(method="sats_plus", preview=True), queued()
    with read_session(engine) as session:
        listed = list_tasks(session, limit=2)
        listed = [*listed, *list_tasks(session, limit=9, place=listed[-1].sequence)][::-1]
        places = [task.queue_place for task in describe_listed(session, listed)]
    assert [task.preview_of for task in listed] == [None, second.id, None, None]
    assert [task.id for task in listed if not task.preview_of] == [first.id, second.id, third.id]
    assert places == [1, 2, 3, 4]


def test_a_task_is_posted_when_the_database_says(engine):
    """Servers have clocks of their own."""
    with write_session(engine) as session:
        before = session.scalar(select(database_now()))
        task, _ = submit(session, submission())
        after = session.scalar(select(database_now()))
        assert before - 0.01 <= task.created_at.timestamp() <= after + 0.01
    with read_session(engine) as session:
        now = datetime.fromtimestamp(after, UTC)
        near = Task.created_at.between(now - timedelta(minutes=1), now + timedelta(minutes=1))
        assert session.scalar(select(Task.id).where(near)) == task.id, "and it can be compared"
