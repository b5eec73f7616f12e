"""Events in their envelope, by the page: of one task, and of all that a caller sees."""

import pytest
from sqlalchemy import delete, select

from app.db import Task, TaskEvent, TaskState, write_session
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key
from tests.app.tasks.posting import post

JSON = {"Accept": "application/json"}
PROGRESS = {"phase": "training", "epoch": 1, "epochs": 2, "step": 4, "steps": 8}
LABELS = {"pictures": 3, "classes": [], "duplicates": 0, "held_out_duplicates": 0, "warnings": []}
ERROR = {"type": "urn:sats:problem:lost", "title": "lost", "status": 500, "detail": "gone"}


def tell(engine, task_id, *told):
    with write_session(engine) as session:
        for kind, data in told:
            session.add(TaskEvent(task_id=task_id, kind=kind, data=data))


@pytest.fixture
def task_id(client, engine, pets):
    """A task with an event of every type."""
    made = post(client, pets).json()["id"]
    tell(
        engine,
        made,
        ("state", {"state": "validating"}),
        ("labels", LABELS),
        ("warning", {"message": "few pictures"}),
        ("progress", PROGRESS),
        ("epoch", PROGRESS | {"losses": {"cross_entropy": 0.5}}),
        ("state", {"state": "held", "version": 3}),
        ("state", {"state": "failed", "error": ERROR}),
    )
    return made


def page(client, path, **params):
    answer = client.get(path, params=params, headers=JSON)
    assert answer.status_code == 200, answer.text
    assert answer.headers["vary"] == "Accept"
    return answer.json()


def test_every_event_has_its_envelope(client, task_id):
    items = page(client, f"/tasks/{task_id}/events")["items"]
    assert {tuple(one) for one in items} == {("id", "type", "at", "task", "model", "data")}
    assert {(one["task"], one["model"]) for one in items} == {(task_id, "default")}
    assert [int(one["id"]) for one in items] == sorted(int(one["id"]) for one in items)
    assert [one["type"] for one in items] == [
        "task.state",
        "task.state",
        "task.labels",
        "task.warning",
        "task.progress",
        "task.epoch",
        "task.state",
        "task.state",
    ]
    nothing = {"phase": None, "outcome": None, "version": None, "error": None}
    states = [one["data"] for one in items if one["type"] == "task.state"]
    assert states == [
        nothing | {"state": "queued"},
        nothing | {"state": "running", "phase": "validating"},
        nothing | {"state": "succeeded", "outcome": "held", "version": 3},
        nothing | {"state": "failed", "error": ERROR},
    ]
    empty = {"losses": {}, "learning_rate": None, "rate": None, "eta_seconds": None}
    assert items[2]["data"] == LABELS
    assert items[3]["data"] == {"message": "few pictures"}
    assert items[4]["data"] == PROGRESS | empty
    assert items[5]["data"] == PROGRESS | empty | {"losses": {"cross_entropy": 0.5}}


def test_curves_come_by_the_page(client, engine, task_id):
    tell(engine, task_id, *(("epoch", PROGRESS | {"epoch": n}) for n in range(2, 6)))
    path, epochs, on = f"/tasks/{task_id}/events", [], {}
    for _ in range(3):
        found = page(client, path, type="task.epoch", limit=2, **on)
        epochs += [one["data"]["epoch"] for one in found["items"]]
        on = {"cursor": found["next_cursor"]}
    assert (epochs, on) == ([1, 2, 3, 4, 5], {"cursor": None})


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "text/event-stream"),
        ("*/*", "text/event-stream"),
        ("text/event-stream", "text/event-stream"),
        ("image/png", "text/event-stream"),
        ("application/json;q=0.5, text/event-stream", "text/event-stream"),
        ("application/json", "application/json"),
        ("text/event-stream;q=0.1, application/*", "application/json"),
    ],
)
def test_a_task_streams_unless_json_is_liked_better(client, engine, task_id, accept, kind):
    with write_session(engine) as session:
        session.get_one(Task, task_id).state = TaskState.FAILED
    headers = {} if accept is None else {"Accept": accept}
    with client.stream("GET", f"/tasks/{task_id}/events", headers=headers) as answer:
        assert answer.headers["content-type"].split(";")[0] == kind
        assert answer.headers["vary"] == "Accept"
        assert task_id in answer.read().decode()


def test_events_of_all_tasks_come_oldest_first(client, engine, task_id, pets):
    other = post(client, pets, {"model": "other"}).json()["id"]
    tell(engine, task_id, ("warning", {"message": "late"}))
    everything = page(client, "/events")
    numbers = [int(one["id"]) for one in everything["items"]]
    assert (numbers, everything["next_cursor"]) == (sorted(numbers), None)
    assert [one["task"] for one in everything["items"][-2:]] == [other, task_id]
    first = page(client, "/events", limit=4)
    rest = page(client, "/events", cursor=first["next_cursor"])
    assert first["items"] + rest["items"] == everything["items"]
    assert page(client, "/events", after=numbers[-2])["items"] == everything["items"][-1:]
    assert page(client, "/events", after=numbers[-1]) == {"items": [], "next_cursor": None}


def test_events_are_narrowed(client, task_id, pets):
    other = post(client, pets, {"model": "other"}).json()["id"]

    def found(**params):
        return [(one["task"], one["type"]) for one in page(client, "/events", **params)["items"]]

    assert found(model="other") == found(task=other) == [(other, "task.state")]
    assert found(type=["task.warning", "task.labels"]) == [
        (task_id, "task.labels"),
        (task_id, "task.warning"),
    ]
    assert found(type="task.warning", model="other") == []
    assert found(task="00000000-0000-4000-8000-000000000000") == []


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("type", "state"),
        ("task", "x"),
        ("model", "No Model"),
        ("after", "-1"),
        ("after", str(2**31)),
        ("limit", "0"),
        ("limit", "501"),
        ("cursor", "WyJ0YXNrcyIsMTdd"),
    ],
)
def test_what_cannot_be_asked_for_is_named(client, field, wrong):
    answer = client.get("/events", params={field: wrong})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"].startswith(f"query.{field}")


@pytest.fixture
def keys(client, engine, settings, pets, task_id):
    """Headers of keys: two that submit, an admin, an admin of one model, one that segments."""
    made = {}
    secret = read_secret(settings)
    with write_session(engine) as session:
        for name, scope, models in (
            ("ann", Scope.SUBMIT, ()),
            ("bob", Scope.SUBMIT, ()),
            ("root", Scope.ADMIN, ()),
            ("street", Scope.ADMIN, ("street",)),
            ("phone", Scope.SEGMENT, ()),
        ):
            key = create_key(session, secret, name, [scope], models=models)
            made[name] = {"Authorization": f"Bearer {key}"}
    return made


def test_a_key_sees_the_events_of_its_own_tasks(client, engine, keys, pets, task_id):
    anns = post(client, pets, **keys["ann"]).json()["id"]
    bobs = post(client, pets, {"model": "street"}, **keys["bob"]).json()["id"]

    def seen(name, **params):
        answer = client.get("/events", headers=keys[name], params=params)
        assert answer.status_code == 200
        return {one["task"] for one in answer.json()["items"]}

    assert seen("ann") == {anns}
    assert seen("bob") == {bobs}
    assert seen("root") == {task_id, anns, bobs}
    assert seen("street") == {bobs}
    assert seen("ann", task=bobs) == set()
    assert client.get("/events", headers=keys["phone"]).status_code == 403
    asked = client.get("/events", headers=keys["street"], params={"model": "default"})
    assert asked.status_code == 403


def test_the_number_of_a_deleted_event_is_not_given_again(client, engine, pets, task_id):
    """Or who saw it would miss the next one."""
    with write_session(engine) as session:
        last = session.scalar(select(TaskEvent.id).order_by(TaskEvent.id.desc()).limit(1))
        session.execute(delete(TaskEvent).where(TaskEvent.task_id == task_id))
    post(client, pets)
    assert [int(one["id"]) > last for one in page(client, "/events", after=last)["items"]] == [True]
