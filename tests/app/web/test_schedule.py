"""How a step that is about to be posted would learn, and how long."""

import json
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from app.db import Task, TaskEvent, write_session
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key
from app.settings import Settings
from app.storage import BlobStore
from app.web.rendering import short
from tests.fixtures.versions import add_version

pytestmark = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)

Told = Callable[..., str]


@pytest.fixture
def told(client: TestClient) -> Told:
    """Ask how a task with such a spec would learn from ten pictures."""

    def ask(**spec: object) -> str:
        asked = {"spec": json.dumps({"name": "a task", **spec}), "pictures": 10}
        answer = client.get("/ui/schedule", params=asked)
        assert answer.status_code == 200
        return answer.text

    return ask


def learned(
    engine: Engine,
    blobs: BlobStore,
    name: str,
    seconds: float,
    device: str | None = None,
    **spec: object,
) -> None:
    """Register a step that took so long for 60 pictures, on a device."""
    with write_session(engine) as session:
        version = add_version(session, blobs, [name])
        version.seconds = seconds
        version.settings = {**version.settings, "device": device}
        task = session.get_one(Task, version.task_id)
        task.spec = {**task.spec, **spec}
        session.add(TaskEvent(task_id=task.id, kind="labels", data={"pictures": 60}))


def test_a_base_step_trains_all_of_the_model(told: Told) -> None:
    shown = told(model="new", create=True, batch_size=8)
    assert "a base step" in shown
    for value in (">30<", ">8<", "0.0006 (adamw)", "256 x 256", "no base step was done here"):
        assert value in shown


def test_the_method_that_is_chosen_tells_settings_and_time(
    told: Told, engine: Engine, blobs: BlobStore
) -> None:
    with write_session(engine) as session:
        base = add_version(session, blobs, ["bird"])
        base.settings = {**base.settings, "size": 96}
    learned(engine, blobs, "cow", 30.0)
    shown = told()
    assert ">frozen<" in shown
    assert "one; no batches" in shown
    assert "about 5 s" in shown
    assert "no step by it was done here" in told(method="sats_plus")
    # Twelve epochs of 60 pictures in 720 seconds: one a picture and epoch.
    learned(engine, blobs, "sheep", 720.0, method="sats_plus", epochs=12)
    shown = told(method="sats_plus", epochs=6, optimizer="sgd", size=512)
    for value in (">sats_plus<", ">6<", ">16<", "0.001 (sgd)", "about 1 min 0 s"):
        assert value in shown
    assert "about 5 s" in told(epochs=6), "one pass, whatever is said"
    assert "0.5 (adamw)" in told(method="mib", learning_rate=0.5)


def test_base_steps_tell_the_time_of_a_base_step(
    told: Told, engine: Engine, blobs: BlobStore
) -> None:
    learned(engine, blobs, "bird", 1800.0)  # thirty epochs: one second a picture and epoch
    learned(engine, blobs, "cow", 30.0)
    assert "about 5 min 0 s" in told(model="new", create=True)
    assert "about 1 min 0 s" in told(model="new", create=True, epochs=6)


def test_what_another_device_did_does_not_count(
    told: Told, engine: Engine, blobs: BlobStore
) -> None:
    with write_session(engine) as session:
        add_version(session, blobs, ["bird"])
    for name, seconds, device in (("cow", 600.0, "cpu"), ("cat", 60.0, "cuda")):
        learned(engine, blobs, name, seconds, device)
    assert "about 10 s" in told(), "the newest step's device, where any will do"
    assert "about 1 min 40 s" in told(device="cpu")
    learned(engine, blobs, "dog", 720.0, "cpu", method="sats_plus", epochs=12)
    assert "no step by it was done here" in told(device="cuda", method="sats_plus")


def test_a_later_step_keeps_the_crop(told: Told, engine: Engine, blobs: BlobStore) -> None:
    with write_session(engine) as session:
        base = add_version(session, blobs, ["bird"])
        base.settings = {**base.settings, "size": 96}
    assert "96 x 96" in told(size=512)


def test_what_is_wrong_in_a_spec_is_named(told: Told, engine: Engine, blobs: BlobStore) -> None:
    assert "spec.sise" in told(sise=7)
    assert "spec.epochs" in told(epochs=0)
    with write_session(engine) as session:
        add_version(session, blobs, ["bird"])
    assert "no version 9" in told(parent=9)


def test_of_a_model_out_of_reach_nothing_is_told(
    client: TestClient, told: Told, engine: Engine, settings: Settings, blobs: BlobStore
) -> None:
    with write_session(engine) as session:
        add_version(session, blobs, ["bird"])
        scopes, models = [Scope.SUBMIT], ["street"]
        key = create_key(session, read_secret(settings), "poster", scopes, models=models)
    client.post("/login", data={"key": key, "next": "/"}, follow_redirects=False)
    shown = told()
    assert "wrong" in shown
    assert "frozen" not in shown


@pytest.mark.usefixtures("database_url")
@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.0 k"),
        (999_960, "1.0 M"),
        (1_230_000, "1.2 M"),
        (2 * 10**9, "2.0 G"),
    ],
)
def test_counts_are_short(count: int, said: str) -> None:
    assert short(count) == said
