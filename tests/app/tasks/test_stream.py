from contextlib import ExitStack

import pytest

from app.db import TaskState
from app.tasks import streams
from tests.app.tasks.posting import post
from tests.app.tasks.reading import events, tell


def _read(client, task_id, after=None):
    headers = {} if after is None else {"Last-Event-ID": str(after)}
    with client.stream("GET", f"/tasks/{task_id}/events", headers=headers) as answer:
        if answer.status_code == 204:
            return None
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-cache"
        return list(events(answer))


@pytest.fixture
def ended(client, engine, pets):
    """A task with four events, the last of them its end."""
    task_id = post(client, pets).json()["id"]
    tell(engine, task_id, "state", TaskState.TRAINING)
    tell(engine, task_id, "epoch", epoch=1)
    tell(engine, task_id, "state", TaskState.FAILED)
    return task_id


def test_all_events_come_in_order_and_the_stream_ends(client, ended):
    found = _read(client, ended)
    assert [(kind, data.get("state")) for _, kind, data in found] == [
        ("task.state", "queued"),
        ("task.state", "running"),
        ("task.epoch", None),
        ("task.state", "failed"),
    ]
    ids = [number for number, _, _ in found]
    assert ids == sorted(set(ids))


def test_a_stream_goes_on_where_it_was_left(client, ended):
    whole = _read(client, ended)
    for place, (number, _, _) in enumerate(whole):
        rest = _read(client, ended, after=number)
        assert rest == (whole[place + 1 :] or None)


def test_after_the_last_event_nothing_is_left_to_come_back_for(client, ended):
    assert _read(client, ended, after=2**31 - 1) is None


@pytest.mark.parametrize("wrong", ["x", "-1", "1.5", str(2**31), "9" * 30, "1\u00b2"])
def test_a_wrong_last_event_id_is_named(client, ended, wrong):
    headers = {"Last-Event-ID": wrong.encode("utf-8")}
    answer = client.get(f"/tasks/{ended}/events", headers=headers)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "header.last-event-id"


def test_events_come_while_the_task_runs(served, engine, pets):
    task_id = post(served, pets).json()["id"]
    with served.stream("GET", f"/tasks/{task_id}/events") as answer:
        told = events(answer)
        assert next(told)[1] == "task.state"
        tell(engine, task_id, "progress", step=1)
        assert next(told)[1] == "task.progress"
        tell(engine, task_id, "state", TaskState.LIVE)
        (_, kind, data), *rest = told
    assert (kind, data["state"], data["outcome"]) == ("task.state", "succeeded", "live")
    assert not rest


def test_a_quiet_stream_is_kept_open_by_comments(served, engine, pets, monkeypatch):
    monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 0.2)
    task_id = post(served, pets).json()["id"]
    with served.stream("GET", f"/tasks/{task_id}/events") as answer:
        lines = answer.iter_lines()
        assert any(line.startswith(":") for line in lines)


def test_many_streams_leave_the_service_free(served, pets, engine):
    task_id = post(served, pets).json()["id"]
    with ExitStack() as stack:
        path = f"/tasks/{task_id}/events"
        told = [events(stack.enter_context(served.stream("GET", path))) for _ in range(60)]
        for one in told:
            assert next(one)[2]["state"] == "queued"
        # All of them wait now: none ends before it is told to.
        assert served.get("/tasks").status_code == 200
        tell(engine, task_id, "state", TaskState.CANCELLED)
        for one in told:
            assert [data["state"] for _, _, data in one] == ["cancelled"]
