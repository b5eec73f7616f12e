import json
import threading
import time

import pytest
from sqlalchemy import update

from app.db import Task, TaskEvent, TaskState, write_session
from app.tasks import streams
from tests.app.tasks.posting import post


def _tell(engine, task_id, kind, data, state=None):
    with write_session(engine) as session:
        if state is not None:
            session.execute(update(Task).where(Task.id == task_id).values(state=state))
        session.add(TaskEvent(task_id=task_id, kind=kind, data=data))


def _read(client, task_id, after=None):
    headers = {} if after is None else {"Last-Event-ID": str(after)}
    found, event = [], {}
    with client.stream("GET", f"/tasks/{task_id}/events", headers=headers) as answer:
        if answer.status_code == 204:
            return None
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-cache"
        for line in answer.iter_lines():
            if line:
                name, _, value = line.partition(": ")
                event[name] = value
            elif event:
                told = json.loads(event["data"])
                assert (told["id"], told["type"]) == (event["id"], event["event"])
                assert told["at"].endswith("Z")
                found.append((int(event["id"]), event["event"], told["data"]))
                event = {}
    return found


@pytest.fixture
def ended(client, engine, pets):
    """A task with four events, the last of them its end."""
    task_id = post(client, pets).json()["id"]
    _tell(engine, task_id, "state", {"state": "training"})
    _tell(engine, task_id, "epoch", {"epoch": 1})
    _tell(engine, task_id, "state", {"state": "failed"}, TaskState.FAILED)
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

    def work():
        time.sleep(0.4)
        _tell(engine, task_id, "progress", {"step": 1}, TaskState.TRAINING)
        time.sleep(0.4)
        _tell(engine, task_id, "state", {"state": "live"}, TaskState.LIVE)

    thread = threading.Thread(target=work)
    thread.start()
    found = _read(served, task_id)
    thread.join()
    assert [kind for _, kind, _ in found] == ["task.state", "task.progress", "task.state"]
    assert (found[-1][2]["state"], found[-1][2]["outcome"]) == ("succeeded", "live")


def test_a_quiet_stream_is_kept_open_by_comments(served, engine, pets, monkeypatch):
    monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 0.2)
    task_id = post(served, pets).json()["id"]
    with served.stream("GET", f"/tasks/{task_id}/events") as answer:
        lines = answer.iter_lines()
        assert any(line.startswith(":") for line in lines)


def test_many_streams_leave_the_service_free(served, pets, engine):
    task_id = post(served, pets).json()["id"]
    threads = [threading.Thread(target=_follow, args=(served, task_id)) for _ in range(60)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    assert served.get("/tasks").status_code == 200
    assert all(thread.is_alive() for thread in threads)  # answered while all of them still wait
    _tell(engine, task_id, "state", {"state": "cancelled"}, TaskState.CANCELLED)
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)


def _follow(served, task_id):
    import httpx

    with httpx.Client(base_url=served.base_url, timeout=30) as client:
        _read(client, task_id)
