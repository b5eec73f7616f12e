"""Following a task: streams that are cut, streams that never come, services that go away."""

import json
from collections.abc import Iterable
from typing import Any

import httpx
import pytest
from conftest import LIVE, RUNNING, TASK, Body, problem

from sats_client import Event, Overloaded, TaskCancelled, TaskFailed, TimedOut, Unreachable

EVENTS = f"/tasks/{TASK['id']}/events"


def sse(number: int, kind: str = "task.state", **data: Any) -> bytes:
    envelope = {
        "id": str(number),
        "type": kind,
        "at": "2026-11-21T16:51:04.2Z",
        "task": TASK["id"],
        "model": "default",
        "data": data,
    }
    return f"id: {number}\nevent: {kind}\ndata: {json.dumps(envelope)}\n\n".encode()


class Service:
    """A task that is in one state after another, and streams of its events."""

    def __init__(self, states: Iterable[Any], streams: Iterable[Any]) -> None:
        self.states = list(states)
        self.streams = list(streams)
        self.resumed: list[str | None] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == EVENTS:
            self.resumed.append(request.headers.get("Last-Event-ID"))
            assert request.headers["Accept"] == "text/event-stream"
            return self._one(self.streams, lambda body: httpx.Response(200, stream=body))
        return self._one(self.states, lambda state: httpx.Response(200, json=state))

    @staticmethod
    def _one(left: list[Any], answer: Any) -> httpx.Response:
        found = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(found, Exception):
            raise found
        return found if isinstance(found, httpx.Response) else answer(found)


def wait(through: Any, service: Service, **options: Any) -> tuple[Any, list[Event]]:
    told: list[Event] = []

    def step(task: Any) -> Any:
        return task.wait(progress=told.append, **options)

    return through(service, lambda client: client.task(TASK["id"]), step), told


def test_a_stream_that_is_cut_goes_on_behind_the_last_event(through):
    first = Body(sse(3, state="running", phase="training"), sse(4)[:-20], cut=True)
    second = Body(sse(4, "task.epoch", epoch=1), b": still here\n\n")
    third = Body(sse(9, state="succeeded", outcome="live"))
    service = Service([TASK, RUNNING, RUNNING, LIVE], [first, second, third])
    task, told = wait(through, service)
    assert (task.outcome, task.version, task.live, task.held) == ("live", 2, True, False)
    assert service.resumed == [None, "3", "4"]
    assert [event.id for event in told] == ["3", "4", "9"]
    assert told[1].data == {"epoch": 1}


def test_held_is_an_outcome(through):
    held = LIVE | {"outcome": "held"}
    task, _ = wait(through, Service([RUNNING, held], [Body(sse(1))]))
    assert (task.held, task.live, task.version) == (True, False, 2)


def test_what_has_ended_is_not_followed(through):
    service = Service([LIVE], [])
    task, told = wait(through, service)
    assert task.live
    assert (service.resumed, told) == ([], [])


def test_without_streams_the_task_is_asked_for(through, slept):
    full = problem(503, "overloaded")
    half = {"phase": "training", "step": 3, "steps": 9}
    service = Service(
        [TASK, TASK, RUNNING | {"progress": half}, RUNNING | {"progress": half}, LIVE], [full]
    )
    task, told = wait(through, service)
    assert task.live
    assert len(service.resumed) == 2, "then it knows"
    assert [(event.type, event.id) for event in told] == [
        ("task.state", ""),
        ("task.progress", ""),
        ("task.state", ""),
    ]
    assert told[1].data["step"] == 3
    assert told[2].data == {"state": "succeeded", "phase": None, "outcome": "live"}
    assert max(slept) == 2


def test_a_proxy_that_keeps_streams_to_itself(through):
    silence = httpx.ReadTimeout("nothing in a minute")
    task, _ = wait(through, Service([TASK, RUNNING, RUNNING, LIVE], [silence]))
    assert task.live


def test_a_service_that_is_away_for_a_while_is_waited_for(through):
    away = httpx.ConnectError("restarting")
    service = Service([TASK, *[away] * 12, RUNNING, LIVE], [away, away, Body(sse(1))])
    task, _ = wait(through, service)
    assert task.live


@pytest.mark.parametrize("status", [502, 504])
def test_a_service_that_is_away_behind_a_proxy_is_waited_for(through, status):
    away = httpx.Response(status, text="Bad Gateway")
    service = Service([TASK, *[away] * 12, RUNNING, LIVE], [away, away, Body(sse(1))])
    task, _ = wait(through, service)
    assert task.live


def test_a_limit_is_waited_for_as_long_as_it_says(through, slept):
    limit = problem(429, "rate-limit", headers={"Retry-After": "90"})
    task, _ = wait(through, Service([TASK, limit, limit, LIVE], [Body(sse(1))]))
    assert task.live
    assert slept == [90, 90]


def test_a_limit_that_outlasts_patience_is_told(through, slept):
    limit = problem(429, "rate-limit", headers={"Retry-After": "3600"})
    with pytest.raises(Overloaded):
        wait(through, Service([TASK, limit, LIVE], [Body(sse(1))]))
    assert slept == []


def test_a_service_that_is_away_for_too_long(through, monkeypatch):
    now = iter(range(0, 100_000, 40))
    monkeypatch.setattr("sats_client._follow.monotonic", lambda: float(next(now)))
    away = httpx.ConnectError("gone")
    with pytest.raises(Unreachable, match="gone"):
        wait(through, Service([TASK, away], [away]))


def test_a_failure_names_the_file(through):
    fault = {"code": "unreadable", "message": "no picture", "file": "JPEGImages/7.jpg"}
    error = {
        "type": "urn:sats:problem:invalid-dataset",
        "title": "The data set cannot be used",
        "status": 422,
        "detail": "a picture cannot be read",
        "errors": [fault],
    }
    failed = TASK | {"state": "failed", "error": error}
    with pytest.raises(TaskFailed, match=r"JPEGImages/7\.jpg: no picture") as raised:
        wait(through, Service([RUNNING, failed], [Body(sse(1))]))
    task = raised.value.task
    assert task.error.errors[0].file == "JPEGImages/7.jpg"
    assert task._client, "so that it can be tried again"


def test_a_cancelled_task(through):
    with pytest.raises(TaskCancelled):
        wait(through, Service([RUNNING, TASK | {"state": "cancelled"}], [Body(sse(1))]))


def test_patience_ends(through, monkeypatch):
    now = iter(range(0, 100_000, 3))
    monkeypatch.setattr("sats_client._follow.monotonic", lambda: float(next(now)))
    with pytest.raises(TimedOut, match="10 s"):
        wait(through, Service([RUNNING], [Body(sse(1))]), timeout=10)
    with pytest.raises(TimeoutError):
        wait(through, Service([RUNNING], [Body(*[b": still here\n\n"] * 100)]), timeout=10)


def test_words_of_a_later_service(through):
    later = RUNNING | {"state": "paused", "phase": "dreaming", "mood": "good"}
    task, told = wait(through, Service([later, LIVE], [Body(sse(1, "task.dream", of="sheep"))]))
    assert task.live
    assert told[0].type == "task.dream"


@pytest.mark.parametrize("progress", [True, False])
def test_progress_is_said_on_stderr(through, capsys, progress):
    stream = Body(
        sse(1, state="running", phase="training"),
        sse(
            2,
            "task.progress",
            phase="training",
            step=1,
            steps=4,
            epoch=0,
            epochs=2,
            eta_seconds=61.0,
        ),
        sse(3, "task.warning", message="few pictures"),
        sse(4, state="succeeded", phase=None, outcome="held"),
    )
    service = Service([RUNNING, LIVE], [stream])
    through(service, lambda c: c.task(TASK["id"]), lambda task: task.wait(progress=progress))
    out, err = capsys.readouterr()
    assert out == ""
    said = [
        "training",
        "training: epoch 0 of 2, 1 of 4 (1:01 left)",
        "warning: few pictures",
        "held",
    ]
    assert err.splitlines() == (said if progress else [])
