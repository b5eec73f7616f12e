"""Who may call: Label Studio sends a name and a password, and the password is a key."""

import base64

import pytest
from sqlalchemy import Engine, select, update
from starlette.testclient import TestClient

from app.db import LabelStudioProject, Task, read_session, write_session
from app.integrations.label_studio.importing import Importing
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
from tests.fixtures.label_studio import CONFIG, FakeLabelStudio

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


def test_scopes(client: TestClient, register: Register, key) -> None:
    register()
    assert statuses(client, {}) == [200] * 5  # on this machine, while there is no key
    segment, submit = key(Scope.SEGMENT), key(Scope.SUBMIT)
    both = key(Scope.SEGMENT, Scope.SUBMIT)
    client.app.state.services.callers.clear()  # type: ignore[attr-defined]
    assert statuses(client, {}) == [401] * 5
    assert statuses(client, basic(segment)) == [200, 200, 200, 403, 403]
    assert statuses(client, basic(submit)) == [403, 403, 403, 200, 200]
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
    for model in ("a", "b"):
        client.post(f"{BASE}/{model}/webhook", json=TRAIN, headers=headers)
        importing.act()
    first = client.get(f"{BASE}/a/projects/3", headers=headers).json()
    with read_session(engine) as session:
        made = session.get_one(Task, first["task"].removeprefix("/tasks/"))
    assert (made.submitted_by, made.by_admin, made.key_id) == ("submit-1", False, 1)
    assert client.get(
        first["task"], headers={"Authorization": headers["Authorization"]}
    ).status_code
    second = client.get(f"{BASE}/b/projects/3", headers=headers).json()
    assert (second["state"], "1" in second["error"]) == ("failed", True)


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
