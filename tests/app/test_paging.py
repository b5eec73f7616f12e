"""Lists by the page: cursors are of one list, filters narrow, summaries are short."""

import base64
import json

import pytest
from sqlalchemy import update

from app.db import Task, TaskState, write_session
from app.paging import Listing
from tests.app.tasks.posting import drawn, post

LISTS = {
    "tasks": "/tasks",
    "models": "/admin/models",
    "versions": "/admin/models/default/versions",
    "moves": "/admin/models/default/aliases/live/moves",
    "keys": "/admin/keys",
    "audit": "/admin/audit",
    "webhooks": "/admin/webhooks",
}


def said(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


@pytest.fixture
def posted(client, tmp_path):
    data = drawn(tmp_path, "cat").read_bytes()
    return [post(client, data, {"name": name}).json() for name in ("Cats", "dogs", "100%")]


def test_every_list_is_a_page(client, posted):
    for path in LISTS.values():
        page = client.get(path, params={"limit": 1}).json()
        assert set(page) == {"items", "next_cursor"}, path


@pytest.mark.parametrize("name", LISTS)
def test_what_is_no_cursor_of_a_list_is_named(client, posted, name):
    strange = (True, -1, 2**70, None, "\0", "\u00e4", [1], 1.5, "x y", "2026-01-01 z", "9999-99Z 1")
    places = [said([name, place]) for place in strange if (name, place) != ("models", "x y")]
    if name == "models":
        places = [said([name, place]) for place in (True, 1, None, "\0", "\u00e4")]
    for cursor in ("x", "\u00e4", "", said([]), said(7), said(["other", 1]), "[" * 400, *places):
        answer = client.get(LISTS[name], params={"cursor": cursor})
        assert answer.status_code == 422, (cursor, answer.text)
        (error,) = answer.json()["errors"]
        assert error["field"] == "query.cursor"


def test_a_page_follows_one_whose_last_item_is_gone(client, posted):
    page = client.get("/tasks", params={"limit": 1}).json()
    (last,) = page["items"]
    client.post(f"/tasks/{last['id']}:cancel")
    assert client.delete(f"/tasks/{last['id']}").status_code == 200
    rest = client.get("/tasks", params={"cursor": page["next_cursor"]}).json()
    assert [task["name"] for task in rest["items"]] == ["dogs", "Cats"]


def test_tasks_are_narrowed(client, engine, posted):
    for task, state in zip(posted, (TaskState.LIVE, TaskState.FAILED), strict=False):
        with write_session(engine) as session:
            session.execute(update(Task).where(Task.id == task["id"]).values(state=state))

    def names(*query, **wanted):
        found = client.get("/tasks", params=[*query, *wanted.items()]).json()["items"]
        return [task["name"] for task in found]

    assert names(("state", "succeeded"), ("state", "failed")) == ["dogs", "Cats"]
    assert names(state="queued") == ["100%"]
    assert names(text="cat") == ["Cats"]
    assert names(text="0%") == ["100%"], "no pattern"
    assert names(text="_") == []
    assert names(submitter="nobody") == []
    middle = posted[1]["created_at"]
    assert names(created_after=middle) == ["100%", "dogs"]
    assert names(created_before=middle) == ["Cats"]


def test_a_summary_is_the_first_part_of_a_task(client, posted):
    full = client.get("/tasks").json()["items"]
    short = client.get("/tasks", params={"view": "summary"}).json()["items"]
    assert "spec" in full[0]
    assert "spec" not in short[0]
    assert short == [{name: task[name] for name in short[0]} for task in full]


def test_a_cursor_says_its_place_and_nothing_else():
    listing = Listing("a", int)
    assert listing.read(listing.cursor(3)) == 3
    assert listing.read(None) is None
    assert listing.cut([5, 4, 3], 2, int) == ([5, 4], listing.cursor(4))
    assert listing.cut([5, 4], 2, int) == ([5, 4], None)
