"""What a step found out about its labels: kept, shown, and where a gate says so, holding."""

from app.admin.service import set_gate
from app.db import TaskState, read_session, write_session
from app.registry.floor import ModelGate
from app.registry.service import find_model
from app.tasks.event_schemas import told_event
from app.tasks.service import describe
from sats_client import Event
from sats_client.printing import lines

SUSPECT = "the outlines of 'cat' follow nothing"


def test_the_figures_are_an_event_and_shown_with_the_task(bench):
    task = bench.run(["cat"])
    (event,) = bench.events(task.id, "labels")
    with read_session(bench.engine) as session:
        shown = describe(session, task)
    assert shown.labels is not None
    assert shown.labels.model_dump(mode="json") == event.data
    assert [one.class_name for one in shown.labels.classes] == ["cat"]
    said = lines(Event(**told_event(event, "default").model_dump()))
    assert said == ["labels: cat in 3 of 4 pictures to train on, 25.0% of their pixels"]


def test_every_try_tells_them_and_the_last_ones_are_shown(bench):
    bench.control.plan(fail="broken")
    task_id = bench.post(["cat"])
    bench.supervisor().run(task_id)
    bench.control.plan(suspect=SUSPECT)
    bench.retry(task_id)
    bench.supervisor().run(task_id)
    assert len(bench.events(task_id, "labels")) == 2
    with read_session(bench.engine) as session:
        shown = describe(session, bench.task(task_id))
    assert shown.labels is not None
    assert shown.labels.serious == (SUSPECT,)


def test_suspect_labels_hold_a_version_only_where_the_gate_says_so(bench):
    bench.control.plan(suspect=SUSPECT)
    assert bench.run(["cat"]).state == TaskState.LIVE
    with write_session(bench.engine) as session:
        set_gate(session, find_model(session, "default"), ModelGate(hold_on_warnings=True))
    assert bench.run(["dog"], seed=1).state == TaskState.HELD
    assert bench.live() == 1
    gate = bench.versions()[-1].gate
    assert (gate["passed"], gate["reasons"]) == (False, [SUSPECT])
    bench.control.plan()
    assert bench.run(["dog"], seed=2).state == TaskState.LIVE
