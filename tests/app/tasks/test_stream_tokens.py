"""Who may follow events, with a key or a token, and for how long."""

import time
from contextlib import ExitStack

import httpx
import pytest

from app.db import TaskState, write_session
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key, revoke_key
from app.main import create_app
from app.tasks import streams, tokens
from tests.app.tasks.reading import PATIENCE, events, eventually, tell
from tests.fixtures.processes import serving


@pytest.fixture
def key(engine, settings):
    with write_session(engine) as session:
        # An admin sees tasks that were posted without a key.
        return create_key(session, read_secret(settings), "eva", [Scope.ADMIN])


def test_a_browser_follows_one_task_with_a_token(client, engine, task_id, key, monkeypatch):
    tell(engine, task_id, "state", TaskState.FAILED)
    bearer = {"Authorization": f"Bearer {key}"}
    made = client.post(f"/tasks/{task_id}/events/token", headers=bearer)
    assert made.headers["cache-control"] == "no-store"
    body = made.json()
    with client.stream("GET", body["url"]) as answer:
        assert [data["state"] for _, _, data in events(answer)] == ["queued", "failed"]

    def status(token, path=f"/tasks/{task_id}/events", **headers):
        return client.get(path, params={"token": token}, headers=headers).status_code

    ends, holder, signature = body["token"].split(".")
    secret = read_secret(client.app.state.services.settings)
    stranger = tokens.make_token(b"another secret", task_id, holder)[0]
    of_another = tokens.make_token(secret, "another", holder)[0]
    longer = f"{int(ends) + 1}.{holder}.{signature}"
    keyless = f"{ends}..{signature}"
    odd = ("", "x", ends, f"{ends}.", "\u0661..x", "-1..x", f"{body['token']}.")
    for wrong in (*odd, longer, keyless, stranger, of_another):
        assert status(wrong) == 401, wrong
    assert status("x" * 201) == 422
    assert status(body["token"], f"/tasks/{task_id}") == 401, "it opens the events alone"
    assert status(body["token"], Authorization="Bearer sats_wrong") == 401
    with write_session(engine) as session:
        revoke_key(session, "eva")
    client.app.state.services.callers.clear()
    assert status(body["token"]) == 401, "its key was revoked"
    now = time.time()
    monkeypatch.setattr(tokens.time, "time", lambda: now + tokens.TOKEN_SECONDS + 1)
    assert status(body["token"]) == 401, "it has ended"


def test_a_stream_ends_with_its_key(service, engine, task_id, key, monkeypatch):
    monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 0.1)
    bearer = {"Authorization": f"Bearer {key}"}
    with serving(service) as url:
        path = f"{url}/tasks/{task_id}/events"
        token = httpx.post(f"{path}/token", headers=bearer).json()["url"]
        with ExitStack() as stack:
            opened = [
                stack.enter_context(httpx.stream("GET", at, headers=headers, timeout=PATIENCE))
                for at, headers in ((path, bearer), (url + token, {}))
            ]
            told = [events(answer) for answer in opened]
            assert [next(one)[1] for one in told] == ["task.state", "task.state"]
            with write_session(engine) as session:
                revoke_key(session, "eva")
            service.state.services.callers.clear()
            eventually(lambda: service.state.services.streams.open == 0)


def test_a_token_takes_the_seats_of_its_key(settings, task_id, key):
    bearer = {"Authorization": f"Bearer {key}"}
    app = create_app(settings.model_copy(update={"serve_streams": 4}))
    with serving(app) as url:
        path = f"{url}/tasks/{task_id}/events"
        token = httpx.post(f"{path}/token", headers=bearer).json()["url"]
        with httpx.stream("GET", path, headers=bearer, timeout=PATIENCE):
            assert httpx.get(url + token).status_code == 503


def test_a_token_of_a_task_that_there_is_not(client):
    missing = "00000000-0000-4000-8000-000000000000"
    assert client.post(f"/tasks/{missing}/events/token").status_code == 404
