"""Who may call: Label Studio sends a name and a password, and the password is a key."""

import base64
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, delete, select, update
from starlette.testclient import TestClient

from app.db import (
    Actor,
    ActorType,
    LabelStudioProject,
    ProjectState,
    Task,
    read_session,
    write_session,
)
from app.inference.exported_graph import GraphError
from app.integrations.label_studio import asking, projects
from app.integrations.label_studio.importing import Importing
from app.integrations.label_studio.projects import Asker
from app.keys.problems import TaskLimitProblem
from app.keys.secret import read_secret
from app.keys.service import KeyLimits, Scope, create_key
from app.main import create_app
from app.registry.service import ensure_model
from app.settings import Settings
from app.storage import BlobStore
from tests.app.integrations.label_studio.asking import BASE, body
from tests.app.integrations.label_studio.exports import halves
from tests.app.segmentation.conftest import Register
from tests.app.segmentation.requests import encoded, left_red_right_green
from tests.fixtures.clocks import set_ahead
from tests.fixtures.label_studio import CONFIG, FakeLabelStudio
from tests.fixtures.versions import add_version

TRAIN = {"action": "START_TRAINING", "project": {"id": 3}}


@pytest.fixture
def key(engine: Engine, settings: Settings):
    def make(*scopes: Scope, **values) -> str:
        with write_session(engine) as session:
            name = f"{'-'.join(scopes)}-{len(values)}"
            return create_key(session, read_secret(settings), name, scopes, **values)

    return make


def basic(key: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"label studio:{key}".encode()).decode()}


def statuses(client: TestClient, headers: dict[str, str], path: str = BASE) -> list[int]:
    """Return what health, setup, predict, training and its state answer."""
    return [
        client.get(f"{path}/health", headers=headers).status_code,
        client.post(f"{path}/setup", json={}, headers=headers).status_code,
        client.post(f"{path}/predict", json=body([]), headers=headers).status_code,
        client.post(f"{path}/webhook", json=TRAIN, headers=headers).status_code,
        client.get(f"{path}/projects/3", headers=headers).status_code,
    ]


def test_of_a_key_that_was_revoked_meanwhile_no_task_comes(
    client: TestClient,
    fake: FakeLabelStudio,
    engine: Engine,
    blobs: BlobStore,
    settings: Settings,
    key,
) -> None:
    fake.projects[3] = ("Cups", CONFIG)
    fake.exports[3] = halves("cup", range(1, 3), 16)
    root, asker = key(Scope.ADMIN), key(Scope.SUBMIT)
    client.app.state.services.callers.clear()  # type: ignore[attr-defined]
    with write_session(engine) as session:
        ensure_model(session, "default")
    assert client.post(f"{BASE}/webhook", json=TRAIN, headers=basic(asker)).status_code == 200
    headers = {"Authorization": f"Bearer {root}"}
    (made,) = [
        one["id"]
        for one in client.get("/admin/keys", headers=headers).json()["items"]
        if one["scopes"] == ["submit"]
    ]
    client.delete(f"/admin/keys/{made}", headers=headers)
    Importing(engine, blobs, settings, lambda _: None).act()
    with read_session(engine) as session:
        assert session.scalars(select(LabelStudioProject.error)).one().endswith("was revoked")
        assert session.scalars(select(Task.id)).all() == []
    assert fake.paths == []


def test_scopes(client: TestClient, register: Register, engine: Engine, key) -> None:
    register()
    assert statuses(client, {}) == [200] * 5  # on this machine, while there is no key
    segment, submit = key(Scope.SEGMENT), key(Scope.SUBMIT)
    both = key(Scope.SEGMENT, Scope.SUBMIT)
    client.app.state.services.callers.clear()  # type: ignore[attr-defined]
    assert statuses(client, {}) == [401] * 5
    assert statuses(client, basic(segment)) == [200, 200, 200, 403, 403]
    assert statuses(client, basic(submit)) == [403, 403, 403, 200, 200]
    with write_session(engine) as session:  # a third key could not ask for this project
        session.execute(delete(LabelStudioProject))
    assert statuses(client, basic(both)) == [200] * 5
    assert statuses(client, {"Authorization": f"Bearer {both}"}) == [200] * 5
    for wrong in (
        basic("nobody"),
        {"Authorization": "Basic !"},
        {"Authorization": "Basic " + base64.b64encode(b"\xff").decode()},
        {"Authorization": "Token 123"},
        basic(both[:-1]),
    ):
        assert statuses(client, wrong) == [401] * 5


def test_any_refusal_of_who_calls_is_a_problem(client: TestClient, key) -> None:
    key(Scope.SEGMENT)
    for said in ("Basic !", "Basic", "Basic " + base64.b64encode(b"no colon").decode(), "Token 1"):
        refused = client.get(f"{BASE}/health", headers={"Authorization": said})
        assert refused.status_code == 401
        assert refused.headers["content-type"] == "application/problem+json", said


def test_who_asks_again_lends_no_rights_to_what_runs(
    client: TestClient,
    fake: FakeLabelStudio,
    engine: Engine,
    blobs: BlobStore,
    settings: Settings,
    key,
) -> None:
    fake.projects[3] = ("Cups", CONFIG)
    fake.exports[3] = halves("cup", [1])
    fake.files["/data/1.png"] = encoded(left_red_right_green(16, 16))
    submit, admin = basic(key(Scope.SUBMIT)), basic(key(Scope.ADMIN))
    with write_session(engine) as session:
        ensure_model(session, "default")
    importing = Importing(engine, blobs, settings, lambda _: None)
    client.post(f"{BASE}/webhook", json=TRAIN, headers=submit)
    fake.failing = 1
    importing.act()  # put off: it is tried again
    client.post(f"{BASE}/webhook", json=TRAIN, headers=admin)
    with write_session(engine) as session:
        session.execute(update(LabelStudioProject).values(due_at=0.0))
    taken = importing.next()
    assert taken is not None
    importing.run(taken)
    with read_session(engine) as session:
        made = session.scalars(select(Task)).one()
        row = session.scalars(select(LabelStudioProject)).one()
        assert (made.submitted_by, made.by_admin, made.key_id) == ("submit-0", False, 1)
        assert (row.state, row.wanted, row.by_admin, row.key_id) == ("waiting", False, True, 2)


def test_a_key_bound_to_models(client: TestClient, register: Register, key) -> None:
    register()
    register(model="street")
    headers = basic(key(Scope.SEGMENT, Scope.SUBMIT, models=["street"]))
    assert statuses(client, headers, f"{BASE}/street") == [200] * 5
    assert statuses(client, headers) == [403] * 5
    assert statuses(client, headers, f"{BASE}/default") == [403] * 5


def test_pictures_count(client: TestClient, register: Register, key) -> None:
    register()
    headers = basic(key(Scope.SEGMENT, limits=KeyLimits(pictures_per_minute=3)))

    def ask(count: int) -> int:
        asked = body(["/data/none.png"] * count)
        return client.post(f"{BASE}/predict", json=asked, headers=headers).status_code

    assert ask(4) == 413
    assert ask(2) == 200
    assert ask(2) == 429


def test_a_version_that_cannot_be_loaded_costs_no_picture(
    client: TestClient, register: Register, key, monkeypatch: pytest.MonkeyPatch
) -> None:
    register()
    headers = basic(key(Scope.SEGMENT, limits=KeyLimits(pictures_per_minute=1)))

    def ask() -> int:
        asked = body(["/data/none.png"])
        return client.post(f"{BASE}/predict", json=asked, headers=headers).status_code

    async def broken(*_choice: object) -> None:
        raise GraphError("broken")

    inference = client.app.state.services.inference  # type: ignore[attr-defined]
    with monkeypatch.context() as patched:
        patched.setattr(inference, "served", broken)
        assert [ask() for _ in range(3)] == [503] * 3
    assert [ask(), ask()] == [200, 429]


def test_the_task_is_that_of_who_asked(
    client: TestClient,
    fake: FakeLabelStudio,
    engine: Engine,
    blobs: BlobStore,
    settings: Settings,
    key,
) -> None:
    fake.projects[3] = ("Cups", CONFIG)
    fake.exports[3] = halves("cup", [1])
    fake.files["/data/1.png"] = encoded(left_red_right_green(16, 16))
    headers = basic(key(Scope.SUBMIT, limits=KeyLimits(queued_tasks=1)))
    with write_session(engine) as session:
        ensure_model(session, "a")
        ensure_model(session, "b")
    importing = Importing(engine, blobs, settings, lambda _: None)
    assert client.post(f"{BASE}/a/webhook", json=TRAIN, headers=headers).status_code == 200
    importing.act()
    first = client.get(f"{BASE}/a/projects/3", headers=headers).json()
    with read_session(engine) as session:
        made = session.get_one(Task, first["task"].removeprefix("/tasks/"))
    assert (made.submitted_by, made.by_admin, made.key_id) == ("submit-1", False, 1)
    assert client.get(
        first["task"], headers={"Authorization": headers["Authorization"]}
    ).status_code
    refused = client.post(f"{BASE}/b/webhook", json=TRAIN, headers=headers)
    assert refused.status_code == 429, "the task waits, and one may"
    assert refused.json()["type"] == "urn:sats:problem:limit-queued-tasks"


def asked(client: TestClient, headers: dict[str, str], model: str, project: int = 3) -> int:
    told = {"action": "START_TRAINING", "project": {"id": project}}
    return client.post(f"{BASE}/{model}/webhook", json=told, headers=headers).status_code


def seen(client: TestClient, headers: dict[str, str], model: str = "default") -> dict[str, Any]:
    """What a key is told of project 3; empty: nothing."""
    answer = client.get(f"{BASE}/{model}/projects/3", headers=headers)
    assert answer.status_code in (200, 404), answer.text
    return answer.json() if answer.status_code == 200 else {}


def test_a_key_has_so_many_imports_that_wait(client: TestClient, settings: Settings, key) -> None:
    one, two = basic(key(Scope.SUBMIT)), basic(key(Scope.SUBMIT, limits=KeyLimits(queued_tasks=1)))
    client.app.state.services.callers.clear()  # type: ignore[attr-defined]
    most = settings.label_studio_waiting
    assert [asked(client, one, f"m{n}") for n in range(most + 1)] == [200] * most + [429]
    assert asked(client, one, "m0") == 200, "it waits already"
    assert [asked(client, two, f"n{n}") for n in range(2)] == [200, 429]
    refused = client.post(f"{BASE}/n1/webhook", json=TRAIN, headers=two)
    assert refused.headers["RateLimit-Policy"] == '"queued-tasks";q=1'
    assert seen(client, two, "n1") == {}, "nothing was noted"


@pytest.mark.races
def test_of_imports_asked_for_at_once_no_more_wait_than_may(engine: Engine, key) -> None:
    key(Scope.SUBMIT)
    asker = Asker(Actor(ActorType.KEY, "one", "a"), 1, by_admin=False)

    def ask(project: int) -> None:
        with write_session(engine) as session:
            asking.ask(session, project, "default", asker, most=1)

    with ThreadPoolExecutor(1) as pool:
        with write_session(engine) as session:
            asking.ask(session, 3, "default", asker, most=1)
            other = pool.submit(ask, 4)
            with pytest.raises(TimeoutError):
                other.result(0.5)
        with pytest.raises(TaskLimitProblem):
            other.result()


@pytest.mark.races
def test_without_keys_no_more_wait_than_may_either(engine: Engine) -> None:
    def ask(project: int) -> None:
        with write_session(engine) as session:
            asking.ask(session, project, "default", Asker(by_admin=True), most=1)

    with ThreadPoolExecutor(1) as pool:
        with write_session(engine) as session:
            asking.ask(session, 3, "default", Asker(by_admin=True), most=1)
            other = pool.submit(ask, 4)
            with pytest.raises(TimeoutError):
                other.result(0.5)
        with pytest.raises(TaskLimitProblem):
            other.result()


@pytest.mark.races
def test_without_keys_two_who_ask_at_once_for_a_project_get_one_import(
    engine: Engine, blobs: BlobStore, settings: Settings
) -> None:
    def ask() -> int:
        with write_session(engine) as session:
            return asking.ask(session, 3, "default", Asker(by_admin=True), most=1).id

    with ThreadPoolExecutor(1) as pool:
        with write_session(engine) as session:
            first = asking.ask(session, 3, "default", Asker(by_admin=True), most=1).id
            other = pool.submit(ask)
            with pytest.raises(TimeoutError):
                other.result(0.5)
        assert other.result() == first
    importing = Importing(engine, blobs, settings, lambda _: None)
    taken = importing.next()
    assert taken is not None
    assert importing.next() is None, "it is one, and it is taken"
    assert ask() == first, "asked for while it is fetched it is one more, once"
    with write_session(engine) as session:
        projects.end(session, taken, ProjectState.NOTHING_NEW)
    assert importing.next() is not None
    assert importing.next() is None


def test_without_keys_everybody_sees_and_asks_for_all(client: TestClient) -> None:
    assert asked(client, {}, "default") == asked(client, {}, "default") == 200
    assert seen(client, {})["state"] == "waiting"


def test_a_key_sees_its_own_imports(client: TestClient, key) -> None:
    mine, other = basic(key(Scope.SUBMIT)), basic(key(Scope.SUBMIT, models=["default"]))
    reader, admin = basic(key(Scope.READ)), basic(key(Scope.ADMIN))
    client.app.state.services.callers.clear()  # type: ignore[attr-defined]
    assert asked(client, mine, "default") == 200
    assert [bool(seen(client, who)) for who in (mine, reader, admin, other)] == [True] * 3 + [False]
    never = client.get(f"{BASE}/projects/4", headers=other).json()["detail"]
    hidden = client.get(f"{BASE}/projects/3", headers=other).json()["detail"]
    assert hidden == never.replace("4", "3")


def test_who_asks_later_follows_and_sees_nothing_of_what_came_before(
    client: TestClient, engine: Engine, key
) -> None:
    first, second = basic(key(Scope.SUBMIT)), basic(key(Scope.SUBMIT, models=["default"]))
    third = basic(key(Scope.SUBMIT, models=["default", "street"], expires_at=None))
    client.app.state.services.callers.clear()  # type: ignore[attr-defined]
    assert asked(client, first, "default") == 200
    assert asked(client, second, "default") == 200
    assert asked(client, third, "default") == 409
    assert (seen(client, first)["state"], seen(client, first)["wanted"]) == ("waiting", True)
    with write_session(engine) as session:
        taken = projects.take(session)
        assert taken is not None
        assert taken.asker.key_id == 1
        projects.put_off(session, taken, "the first one's trouble")
    assert seen(client, first)["error"] == "the first one's trouble"
    shown = seen(client, second)
    assert (shown["state"], shown["error"]) == ("waiting", None)
    assert seen(client, third) == {}
    with write_session(engine) as session:
        session.execute(update(LabelStudioProject).values(due_at=0.0))
        taken = projects.take(session)
        assert taken is not None
        projects.end(session, taken, ProjectState.FAILED, error="lost", classes=["secret"])
    shown = seen(client, second)
    assert (shown["state"], shown["error"], shown["classes"]) == ("waiting", None, [])
    assert seen(client, first) == {}
    assert asked(client, third, "default") == 200, "it is the next one now"


def test_the_task_of_another_key_is_not_named(
    client: TestClient, engine: Engine, blobs: BlobStore, key
) -> None:
    headers, reader = basic(key(Scope.SUBMIT)), basic(key(Scope.READ))
    client.app.state.services.callers.clear()  # type: ignore[attr-defined]
    assert asked(client, headers, "default") == 200
    with write_session(engine) as session:
        version = add_version(session, blobs, ["cat"])  # its task is nobody's
        session.execute(update(LabelStudioProject).values(task_id=version.task_id))
    assert seen(client, headers)["task"] is None
    assert seen(client, reader)["task"] == f"/tasks/{version.task_id}"


def test_keys_take_turns(client: TestClient, engine: Engine, key) -> None:
    many, few = basic(key(Scope.SUBMIT)), basic(key(Scope.SUBMIT, models=["few"]))
    client.app.state.services.callers.clear()  # type: ignore[attr-defined]
    for project in range(1, 5):
        assert asked(client, many, "many", project) == 200
    assert asked(client, few, "few", 9) == 200
    taken = []
    for _ in range(5):
        with write_session(engine) as session:
            one = projects.take(session)
            assert one is not None
            projects.end(session, one, ProjectState.NOTHING_NEW)
        taken.append(one.project)
    assert taken == [1, 9, 2, 3, 4]
    assert asked(client, many, "many", 2) == 200
    assert asked(client, many, "many", 1) == 200
    with write_session(engine) as session:
        one = projects.take(session)
    assert one is not None
    assert one.project == 2, "what was asked for first"


def test_a_key_that_a_worker_whose_clock_is_ahead_served_has_its_turn_again(
    client: TestClient, engine: Engine, key, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = basic(key(Scope.SUBMIT)), basic(key(Scope.SUBMIT, models=["second"]))
    client.app.state.services.callers.clear()  # type: ignore[attr-defined]
    assert asked(client, first, "first", 1) == asked(client, second, "second", 2) == 200
    for days in (1, 0):
        with monkeypatch.context() as patch, write_session(engine) as session:
            set_ahead(patch, timedelta(days=days))
            one = projects.take(session)
            assert one is not None
            projects.end(session, one, ProjectState.NOTHING_NEW)
    assert asked(client, first, "first", 3) == asked(client, second, "second", 4) == 200
    with write_session(engine) as session:
        one = projects.take(session)
    assert one is not None
    assert one.project == 3, "its last turn is longer ago"


def test_new_annotations_ask_when_there_is_room(client: TestClient, engine: Engine, key) -> None:
    with write_session(engine) as session:
        asker = Asker(Actor(ActorType.KEY, "a"))
        asking.ask(session, 1, "a", asker, most=1)
        row = asking.note(session, 2, "a", 5, 5, asker, most=1)
        assert (row.state, row.annotations) == (ProjectState.NEVER, 5)
        taken = projects.take(session)
        assert taken is not None
        row = asking.note(session, 2, "a", 1, 5, asker, most=1)
        assert (row.state, row.annotations) == (ProjectState.WAITING, 0)


def test_without_a_label_studio_it_says_so(
    engine: Engine, settings: Settings, register: Register
) -> None:
    register()
    plain = settings.model_copy(update={"label_studio_url": None})
    local = {"base_url": "http://127.0.0.1", "client": ("127.0.0.1", 50000)}
    with TestClient(create_app(plain), **local) as client:  # type: ignore[arg-type]
        assert statuses(client, {}) == [200, 409, 409, 409, 404]
        answer = client.post(f"{BASE}/setup").json()
        assert answer["type"] == "urn:sats:problem:label-studio-missing"
