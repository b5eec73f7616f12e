"""Lists by the page: cursors are of one list, filters narrow, summaries are short."""

import base64
import json
from datetime import timedelta

import pytest
from sqlalchemy import update

from app.db import Task, TaskState, utc_now, write_session
from app.errors import InvalidProblem
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key
from app.records.paging import Listing
from tests.app.tasks.posting import drawn, post
from tests.fixtures.versions import add_version

LISTS = {
    "tasks": "/tasks",
    "models": "/admin/models",
    "versions": "/admin/models/default/versions",
    "moves": "/admin/models/default/aliases/live/moves",
    "keys": "/admin/keys",
    "audit": "/admin/audit",
    "webhooks": "/admin/webhooks",
}

OTHERS = ("/v2", "/hf", "/integrations")
"""Other people's contracts have lists of their own kind."""


def said(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


@pytest.fixture
def posted(client, tmp_path):
    data = drawn(tmp_path, "cat").read_bytes()
    return [post(client, data, {"name": name}).json() for name in ("Cats", "dogs", "100%")]


def lists(document):
    """Yield the path of every list of the document: what answers JSON with many of one kind."""
    schemas = document["components"]["schemas"]
    for path, item in document["paths"].items():
        if "get" not in item or path.startswith(OTHERS):
            continue
        content = item["get"]["responses"].get("200", {}).get("content", {})
        schema = content.get("application/json", {}).get("schema", {})
        schema = schemas.get(schema.get("$ref", "").rpartition("/")[2], schema)
        assert schema.get("type") != "array", f"{path}: a bare list cannot grow pages"
        asked = {one["name"] for one in item["get"].get("parameters", ())}
        if "items" in schema.get("properties", {}) or "cursor" in asked:
            assert {"limit", "cursor"} <= asked, path
            yield path


def test_every_list_is_a_page(client, document, posted, engine, blobs):
    with write_session(engine) as session:
        add_version(session, blobs, ["cat"])
    wish = {"url": "https://example.org/hook", "events": ["version.promoted"]}
    hook = client.post("/admin/webhooks", json=wish).json()["id"]
    known = {"model": "default", "task_id": posted[0]["id"], "webhook_id": hook}
    found = [path.format(**known) for path in lists(document)]
    assert set(LISTS.values()) < set(found)
    for path in found:
        page = client.get(path, params={"limit": 1}, headers={"Accept": "application/json"})
        assert set(page.json()) == {"items", "next_cursor"}, path


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


def walked(client, path, **wanted):
    """The items of every page, two by two."""
    found, cursor = [], None
    while True:
        given = wanted | ({"cursor": cursor} if cursor else {})
        page = client.get(path, params={"limit": 2} | given)
        assert page.status_code == 200, page.text
        found += page.json()["items"]
        cursor = page.json()["next_cursor"]
        if cursor is None:
            return found


def test_lists_are_sorted(client, engine, blobs, posted):
    with write_session(engine) as session:
        for name in ("a", "b", "c", "b", "b"):
            add_version(session, blobs, ["cat"], model=name)
    for path, name, first in (
        ("/tasks", "id", "-created_at"),
        ("/admin/models/b/versions", "number", "-created_at"),
        ("/admin/models", "name", "name"),
    ):
        known = [one[name] for one in walked(client, path)]
        assert len(known) > 2, path
        last = first.removeprefix("-") if first.startswith("-") else f"-{first}"
        assert [one[name] for one in walked(client, path, sort=first)] == known
        assert [one[name] for one in walked(client, path, sort=last)] == known[::-1]
    assert client.get("/tasks", params={"sort": "name"}).status_code == 422


def test_keys_are_sorted(client, engine, settings):
    with write_session(engine) as session:
        for name in "abc":
            key = create_key(session, read_secret(settings), name, [Scope.ADMIN])
    client.headers["Authorization"] = f"Bearer {key}"
    client.app.state.services.callers.clear()
    assert [one["name"] for one in walked(client, "/admin/keys")] == ["c", "b", "a"]
    oldest = walked(client, "/admin/keys", sort="created_at")
    assert [one["name"] for one in oldest] == ["a", "b", "c"]


def test_tasks_are_sorted_by_their_end_and_those_alone_that_have_one(client, engine, posted):
    first, second, third = (one["id"] for one in posted)
    with write_session(engine) as session:
        moments = {first: utc_now(), second: utc_now() - timedelta(days=1)}
        for task, ended in moments.items():
            session.execute(update(Task).where(Task.id == task).values(finished_at=ended))
    assert [one["id"] for one in walked(client, "/tasks", sort="finished_at")] == [second, first]
    with write_session(engine) as session:  # both at one moment: what was posted last is last
        session.execute(update(Task).values(finished_at=moments[first]))
    ended = walked(client, "/tasks", sort="finished_at", model="default")
    assert [one["id"] for one in ended] == [first, second, third]
    ended = walked(client, "/tasks", sort="-finished_at")
    assert [one["id"] for one in ended] == [third, second, first]


def test_a_cursor_goes_on_in_its_own_order_alone(client, engine, posted):
    with write_session(engine) as session:
        session.execute(update(Task).values(finished_at=utc_now()))
    orders = ("-created_at", "created_at", "-finished_at", "finished_at")
    cursors = {
        sort: client.get("/tasks", params={"sort": sort, "limit": 1}).json()["next_cursor"]
        for sort in orders
    }
    assert len(set(cursors.values())) == len(orders)
    for sort, cursor in cursors.items():
        for other in orders:
            answer = client.get("/tasks", params={"sort": other, "cursor": cursor})
            assert answer.status_code == (200 if other == sort else 422), (sort, other)
            if other != sort:
                (error,) = answer.json()["errors"]
                assert error["field"] == "query.cursor"
                assert "another order" in error["message"]


@pytest.mark.parametrize(
    "place", ["2026-01-01T00:00:00 1", "2026-01-01T00:00:00Z", "x 1", 7, "Z 1"]
)
def test_what_is_no_place_by_the_end_is_refused(client, posted, place):
    cursor = said(["tasks", place, "-finished_at"])
    answer = client.get("/tasks", params={"cursor": cursor, "sort": "-finished_at"})
    assert answer.status_code == 422, answer.text


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
    other = listing.by("created_at")
    assert listing.by("-created_at") == listing
    assert other.read(other.cursor(3)) == 3
    for wrong, cursor in ((listing, other.cursor(3)), (other, listing.cursor(3))):
        with pytest.raises(InvalidProblem, match="another order"):
            wrong.read(cursor)
