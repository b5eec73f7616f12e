"""What the service reads often it finds through an index, however many tasks there are."""

import pytest
from sqlalchemy import select

from app.db import Place, Task, TaskEvent, TaskState, read_session, utc_now, write_session
from app.registry.parents import may_be_base
from app.registry.service import ensure_model
from app.storage.references import is_referenced, referenced
from app.tasks.labels import labels_of
from app.tasks.listing import TaskOrder, Wanted, list_tasks
from app.tasks.service import describe, describe_listed
from app.workers.service import idle, living
from app.workers.unmet import count_unmet, lasting, outdated
from tests.fixtures.statements import Statements
from tests.worker.bench import CPU
from worker.claim import claim, lapsed
from worker.turns import note_turn, whose_turn

KEY = "0" * 64
SORTS = "TEMP B-TREE FOR "


def queued(session):
    """A task that waits, and another one behind it."""
    model = ensure_model(session, "default")
    for _ in range(2):
        task = Task(model=model, spec={}, dataset=KEY, dataset_bytes=1, request_digest="")
        session.add(task)
        session.flush()
    return model.id, task.id


def look(session, model_id):
    """Read as lists, claims and the garbage collector do."""
    list_tasks(session, limit=50)
    list_tasks(session, 50, place=2)
    list_tasks(session, 50, Wanted(model="default"))
    list_tasks(session, 50, Wanted(model="default"), place=2)
    list_tasks(session, 50, order=TaskOrder("created_at"), place=2)
    tasks = list_tasks(session, 50, Wanted(states=[TaskState.QUEUED]))
    list_tasks(session, 50, Wanted(text="a", created_after=utc_now(), created_before=utc_now()))
    list_tasks(session, 50, Wanted(submitter="eva"))
    list_tasks(session, 50, Wanted(submitter=""))
    describe_listed(session, tasks)
    describe(session, tasks[0])
    lapsed(session)
    living(session)
    idle(session)
    count_unmet(session)
    outdated(session)
    session.scalars(select(Task.id).where(lasting(1.0)).order_by(Task.sequence)).all()
    may_be_base(session, model_id)
    for place in Place:
        referenced(session, place)
        is_referenced(session, place, "1" * 64)


def test_no_read_goes_through_all_tasks(engine):
    with write_session(engine) as session:
        model_id, last = queued(session)
    with Statements(engine) as sent:
        with read_session(engine) as session:
            look(session, model_id)
        with write_session(engine) as session:
            assert claim(session, last, "worker-1", 60) is None
            taken = claim(session, whose_turn(CPU), "worker-1", 60)
            assert taken is not None
            note_turn(session, taken.task_id, CPU)
    wanted = [one for one in sent.seen if "tasks" in one[0]]
    assert len(wanted) > 12
    with engine.connect() as connection:
        for statement, parameters in wanted:
            plan = explain(connection, statement, parameters)
            # A claim finds the first of each model among those that wait, and sorts these.
            sorts = statement.startswith("UPDATE tasks") and "ORDER BY" in statement
            wrong = [step for step in plan if is_scan(step) and not (sorts and SORTS in step)]
            assert not wrong, "\n".join([statement, *plan])


def test_no_list_by_their_end_goes_through_all_tasks(engine):
    with write_session(engine) as session:
        queued(session)
    which = (Wanted(), Wanted(model="default"), Wanted(states=[TaskState.FAILED]))
    with Statements(engine) as sent, read_session(engine) as session:
        for wanted in which:
            by_end = TaskOrder("-finished_at")
            list_tasks(session, 50, wanted, order=by_end, place="2026-01-01T00:00:00Z 2")
    listed = [one for one in sent.seen if "tasks" in one[0]]
    assert len(listed) == len(which)
    with engine.connect() as connection:
        for statement, parameters in listed:
            plan = explain(connection, statement, parameters)
            steps = [step for step in plan if "Seq Scan on tasks" in step or "SCAN tasks" in step]
            assert not steps, "\n".join([statement, *plan])


@pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
def test_an_index_has_the_queue_of_a_model_and_the_tasks_of_a_state_by_their_end(engine):
    """Postgres takes the one that its counts speak for: of two tasks, any."""
    with write_session(engine) as session:
        queued(session)
    with Statements(engine) as sent, read_session(engine) as session:
        describe_listed(session, list_tasks(session, 50))
        failed = Wanted(states=[TaskState.FAILED])
        list_tasks(session, 50, failed, order=TaskOrder("-finished_at"))
    with engine.connect() as connection:
        plans = ["\n".join(explain(connection, *one)) for one in sent.seen if "tasks" in one[0]]
    used = ("ix_tasks_model_id_state_sequence", "ix_tasks_state_finished_at_sequence")
    for index in used:
        assert any(index in plan for plan in plans), (index, plans)


def explain(connection, statement, parameters):
    """The steps of a plan; Postgres is kept from scanning a table only because it is small."""
    if connection.dialect.name == "sqlite":
        rows = connection.exec_driver_sql("EXPLAIN QUERY PLAN " + statement, parameters)
        return [row.detail for row in rows]
    connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
    rows = connection.exec_driver_sql("EXPLAIN " + statement, parameters)
    return [row[0] for row in rows]


def is_scan(step):
    scanned = "Seq Scan on tasks" in step or step.startswith("SCAN tasks")
    # A page of the newest tasks goes along the index, and stops.
    return (scanned and "USING INDEX ix_tasks_sequence" not in step) or "TEMP B-TREE" in step


def test_the_labels_of_a_task_are_found_among_its_events_by_an_index(engine):
    with write_session(engine) as session:
        _, task_id = queued(session)
        for at, kind in enumerate(("state", "labels", "epoch", "labels", "progress")):
            session.add(TaskEvent(task_id=task_id, kind=kind, data={"at": at}))
            session.flush()
    with Statements(engine) as sent, read_session(engine) as session:
        assert labels_of(session, task_id) == {"at": 3}
    (asked,) = [one for one in sent.seen if "task_events" in one[0]]
    with engine.connect() as connection:
        plan = explain(connection, *asked)
    assert any("ix_task_events_task_id_kind_id" in step for step in plan), plan
    assert not any("TEMP B-TREE" in step for step in plan), plan
