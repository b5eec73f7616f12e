"""A key sees, cancels and retries its own tasks; an admin all; nobody's are the admins'."""

import pytest

from app.db import Task, read_session, write_session
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key
from tests.app.tasks.posting import drawn, post


@pytest.fixture
def posted(client, engine, settings, tmp_path):
    """A task of nobody, one of each of two keys, and the keys' headers."""
    data = drawn(tmp_path, "cat")
    tasks = {"nobody": post(client, data).json()["id"]}
    secret, headers = read_secret(settings), {}
    with write_session(engine) as session:
        for name, scope in (("ann", Scope.SUBMIT), ("bob", Scope.SUBMIT), ("root", Scope.ADMIN)):
            key = create_key(session, secret, name, [scope])
            headers[name] = {"Authorization": f"Bearer {key}"}
    for name in ("ann", "bob"):
        tasks[name] = post(client, data, **headers[name]).json()["id"]
    return tasks, headers


def listed(client, headers, **wanted):
    return [
        task["id"] for task in client.get("/tasks", headers=headers, params=wanted).json()["items"]
    ]


def test_a_task_records_the_key_that_posted_it(posted, engine):
    tasks, _ = posted
    with read_session(engine) as session:
        owners = {name: session.get_one(Task, task).key_id for name, task in tasks.items()}
    assert owners["nobody"] is None
    assert owners["ann"] != owners["bob"]
    assert None not in (owners["ann"], owners["bob"])


def test_lists_hold_own_tasks_alone(client, posted):
    tasks, headers = posted
    assert listed(client, headers["ann"]) == [tasks["ann"]]
    assert listed(client, headers["bob"]) == [tasks["bob"]]
    assert listed(client, headers["root"]) == [tasks["bob"], tasks["ann"], tasks["nobody"]]
    first = client.get("/tasks", headers=headers["root"], params={"limit": 1}).json()
    rest = [tasks["ann"], tasks["nobody"]]
    assert listed(client, headers["root"], cursor=first["next_cursor"]) == rest
    assert listed(client, headers["ann"], cursor=first["next_cursor"]) == [tasks["ann"]]
    assert listed(client, headers["root"], submitter="ann") == [tasks["ann"]]
    assert listed(client, headers["root"], submitter="") == [tasks["nobody"]]
    assert listed(client, headers["ann"], submitter="bob") == []


@pytest.mark.parametrize(
    ("method", "what"),
    [("GET", ""), ("GET", "/events"), ("GET", "/log"), ("POST", ":cancel"), ("POST", ":retry")],
)
def test_others_tasks_are_not_there(client, posted, method, what):
    tasks, headers = posted
    for name in ("bob", "nobody"):
        answer = client.request(method, f"/tasks/{tasks[name]}{what}", headers=headers["ann"])
        assert answer.status_code == 404
        assert answer.json()["detail"] == f"there is no task {tasks[name]}"
    assert listed(client, headers["root"], state="queued") == [
        tasks["bob"],
        tasks["ann"],
        tasks["nobody"],
    ]


def test_own_tasks_and_an_admin_s_can_be_cancelled(client, posted):
    tasks, headers = posted
    own = client.post(f"/tasks/{tasks['ann']}:cancel", headers=headers["ann"])
    assert own.json()["state"] == "cancelled"
    for name in ("bob", "nobody"):
        answer = client.post(f"/tasks/{tasks[name]}:cancel", headers=headers["root"])
        assert answer.json()["state"] == "cancelled"
