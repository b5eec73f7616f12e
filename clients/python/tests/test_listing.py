"""Lists that are read as they are needed."""

import httpx
import pytest
from conftest import LIVE, TASK

from sats_client import BadAnswer, Client


def test_pages_are_read_as_they_are_needed(through):
    asked = []

    def pages(request: httpx.Request) -> httpx.Response:
        asked.append(dict(request.url.params.multi_items()))
        cursor = int(request.url.params.get("cursor", 0))
        items = [LIVE | {"id": f"{cursor}-{n}"} for n in range(2)]
        return httpx.Response(
            200, json={"items": items, "next_cursor": str(cursor + 1) if cursor < 2 else None}
        )

    found = through(pages, lambda c: c.tasks(model="farm", state=["failed", "queued"], text="a"))
    assert [task.id for task in found] == ["0-0", "0-1", "1-0", "1-1", "2-0", "2-1"]
    assert asked[0] == {"model": "farm", "state": "queued", "text": "a"}
    assert [one.get("cursor") for one in asked] == [None, "1", "2"]
    asked.clear()
    with Client("http://sats", transport=httpx.MockTransport(pages)) as client:
        tasks = client.tasks()
        next(tasks)
        next(tasks)
        assert len(asked) == 1
        assert next(tasks).refresh


def test_what_happened_is_asked_for_by_the_page(through):
    asked = []

    def service(request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/events"):
            return httpx.Response(200, json=TASK)
        asked.append((request.headers["Accept"], dict(request.url.params)))
        number = int(request.url.params.get("cursor", 1))
        event = {"id": str(number), "type": "task.epoch", "at": "2026-11-21T16:51:04Z"}
        event |= {"task": TASK["id"], "model": "default", "data": {"epoch": number}}
        following = str(number + 1) if number < 3 else None
        return httpx.Response(200, json={"items": [event], "next_cursor": following})

    found = through(service, lambda c: c.task("1"), lambda task: task.events("task.epoch"))
    assert [event.data["epoch"] for event in found] == [1, 2, 3]
    first = {"type": "task.epoch", "limit": "500"}
    assert asked == [
        ("application/json", first),
        ("application/json", {**first, "cursor": "2"}),
        ("application/json", {**first, "cursor": "3"}),
    ]


POINT = {
    "created_at": "2026-11-21T16:51:04Z",
    "live": False,
    "classes": 1,
    "miou_all": 0.5,
    "miou_old": None,
    "miou_new": 0.5,
    "mean_forgetting": None,
    "iou": {"background": 0.9, "cat": None},
}


def test_a_curve_is_read_to_its_first_version(through):
    def curve(request: httpx.Request) -> httpx.Response:
        assert request.url.params["model"] == "farm"
        before = int(request.url.params.get("before", 6))
        points = [POINT | {"version": number} for number in range(max(1, before - 2), before)]
        first = points[0]["version"]
        told = {"model": "farm", "points": points, "next_before": first if first > 1 else None}
        return httpx.Response(200, json={"models": [told]})

    found = through(curve, lambda c: c.curve("farm"))
    assert [point.version for point in found] == [5, 4, 3, 2, 1]
    assert found[0].iou == {"background": 0.9, "cat": None}
    for said in ({"models": []}, {"curves": []}):
        with pytest.raises(BadAnswer):
            through(lambda _, said=said: httpx.Response(200, json=said), lambda c: c.curve())
