"""From a project of Label Studio to a task: asked for by its webhook, made by a worker."""

import errno
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.db import (
    LabelStudioProject,
    ProjectState,
    Task,
    TaskState,
    database_now,
    read_session,
    write_session,
)
from app.errors import BusyProblem, DiskFullProblem, Problem, UnavailableProblem
from app.integrations.label_studio import asking, gathering, projects
from app.integrations.label_studio import importing as importing_module
from app.integrations.label_studio.importing import Importing
from app.integrations.label_studio.projects import MOST_TRIES, Asker
from app.main import create_app
from app.settings import Settings
from app.storage import BlobStore
from sats_core.data.readers import open_reader
from sats_core.data.sources import ZipSource
from tests.app.integrations.label_studio.asking import BASE
from tests.app.integrations.label_studio.conftest import with_settings
from tests.app.integrations.label_studio.exports import brush, halves, task
from tests.app.segmentation.requests import encoded
from tests.fixtures.label_studio import CONFIG, FakeLabelStudio
from tests.fixtures.versions import add_version

TRAIN = {"action": "START_TRAINING", "project": {"id": 3, "title": "Cups"}}
SIZE = 16

Woken = list[str]


@pytest.fixture
def woken() -> Woken:
    return []


@pytest.fixture
def importing(engine: Engine, blobs: BlobStore, settings: Settings, woken: Woken) -> Importing:
    return Importing(engine, blobs, settings, woken.append)


@pytest.fixture
def project(fake: FakeLabelStudio) -> FakeLabelStudio:
    """Project 3: eight annotated tasks with `cup`, which `red` and `green` stand beside."""
    config = CONFIG.replace(
        "</BrushLabels>", '<Label value="cup"/><Label value="fork"/></BrushLabels>'
    )
    fake.projects[3] = ("Cups", config)
    fake.exports[3] = halves("cup", range(1, 9), SIZE)
    for number in range(1, 9):
        colour = (30 * number, 10, 200)
        fake.files[f"/data/{number}.png"] = encoded(Image.new("RGB", (SIZE, SIZE), colour))
    return fake


def train(client: TestClient) -> None:
    assert client.post(f"{BASE}/webhook", json=TRAIN).json() == {"status": "ok"}


def state(client: TestClient, model: str = "default") -> dict[str, Any]:
    answer = client.get(f"{BASE}/{model}/projects/3")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def tasks(engine: Engine) -> list[Task]:
    with read_session(engine) as session:
        return list(session.scalars(select(Task).where(Task.idempotency_key.is_not(None))))


def end_task(engine: Engine) -> None:
    with write_session(engine) as session:
        session.execute(update(Task).values(state=TaskState.FAILED))


def test_annotations_become_a_task_of_what_is_new(
    client: TestClient,
    project: FakeLabelStudio,
    importing: Importing,
    engine: Engine,
    blobs: BlobStore,
    settings: Settings,
    woken: Woken,
) -> None:
    with write_session(engine) as session:
        add_version(session, blobs, ["red", "green"])
    assert client.get(f"{BASE}/projects/3").status_code == 404
    train(client)
    assert state(client)["state"] == "waiting"
    assert project.came == []  # the webhook itself asks for nothing
    importing.act()
    shown = state(client)
    (made,) = tasks(engine)
    assert shown["state"] == "queued"
    assert shown["task"] == f"/tasks/{made.id}"
    assert (shown["pictures"], shown["pictures_in_all"]) == (8, 8)
    assert shown["classes"] == ["cup"]
    assert shown["warnings"] == ["no picture shows 'fork': it is left out"]
    assert woken == [made.id]
    assert (made.spec["name"], made.spec["model"]) == ("Label Studio: Cups", "default")
    with ZipSource(blobs.path(made.dataset), settings.limits) as source:
        reader = open_reader(source)
        assert reader.classes == ("cup",)
        assert len(reader.ids) == 8
        np.testing.assert_array_equal(reader.label(reader.ids[0])[0], [1] * 8 + [0] * 8)
    assert not any(settings.incoming_dir.iterdir())


def test_nothing_new_is_said_and_not_queued(
    client: TestClient,
    project: FakeLabelStudio,
    importing: Importing,
    engine: Engine,
    blobs: BlobStore,
) -> None:
    with write_session(engine) as session:
        add_version(session, blobs, ["red", "green", "cup", "fork"])
    train(client)
    importing.act()
    shown = state(client)
    assert (shown["state"], shown["task"], shown["warnings"]) == ("nothing_new", None, [])
    assert tasks(engine) == []


def test_what_cannot_be_used_is_left_out_and_named(
    client: TestClient, project: FakeLabelStudio, importing: Importing, engine: Engine
) -> None:
    mask = np.ones((SIZE, SIZE))
    broken = brush(mask, "cup")
    broken["value"]["rle"] = broken["value"]["rle"][:7]
    two = brush(mask, "cup")
    two["value"]["brushlabels"] = ["cup", "fork"]
    project.exports[3] += [
        task(11, "/data/1.png", broken),
        task(12, "/data/none.png", brush(mask, "fork")),
        task(13, "/data/1.png", brush(np.ones((5, 5)), "fork")),
        task(14, "/data/1.png", two),
        task(15, "/data/1.png", brush(mask, "fork", image_rotation=90)),
        task(16, "http://169.254.169.254/", brush(mask, "fork")),
        task(17, "/data/text.png", brush(mask, "fork")),
        task(18, "/data/1.png", brush(mask, "fork"), was_cancelled=True),
        task(19, "/data/1.png", brush(mask, "spoon", to_name="other")),
    ]
    project.files["/data/text.png"] = b"<html>"
    train(client)
    importing.act()
    shown = state(client)
    left_out = [int(said.split()[1]) for said in shown["warnings"] if said.startswith("task")]
    assert left_out == [11, 12, 13, 14, 15, 16, 17, 18]
    assert (shown["pictures"], shown["pictures_in_all"]) == (9, 17)
    assert shown["classes"] == ["cup"]
    assert len(tasks(engine)) == 1


@pytest.mark.parametrize(
    ("export", "told"),
    [
        ([], "no task of the project has an annotation"),
        (b"{", "cannot be read"),
        (b"[1]", "cannot be read"),
        (b'[{"id": 1, "annotations": [{"result": [', "cannot be read"),
        (b'[{"data": {}}]', "a task without a number"),
        (halves("cup", [99]), "task 99 is left out"),
    ],
)
def test_an_export_that_is_none_fails(
    client: TestClient, project: FakeLabelStudio, importing: Importing, export: Any, told: str
) -> None:
    project.exports[3] = export
    train(client)
    importing.act()
    shown = state(client)
    assert shown["state"] == "failed"
    assert told in shown["error"]


def test_a_project_that_is_not_there_or_shows_no_picture_fails(
    client: TestClient, fake: FakeLabelStudio, importing: Importing
) -> None:
    train(client)
    importing.act()
    assert "status 404" in state(client)["error"]
    fake.projects[3] = ("Texts", '<View><Text name="t" value="$text"/></View>')
    train(client)
    importing.act()
    assert "no <Image>" in state(client)["error"]


def test_a_second_wish_is_noted_not_doubled(
    client: TestClient, project: FakeLabelStudio, importing: Importing, engine: Engine
) -> None:
    train(client)
    train(client)
    taken = importing.next()
    assert taken is not None
    train(client)
    train(client)
    assert (state(client)["state"], state(client)["wanted"]) == ("fetching", True)
    assert importing.next() is None
    importing.run(taken)
    assert (state(client)["state"], state(client)["wanted"]) == ("waiting", False)
    assert importing.next() is None  # until the first one's task has ended
    assert len(tasks(engine)) == 1
    end_task(engine)
    importing.act()
    assert len(tasks(engine)) == 2
    assert state(client)["state"] == "queued"


def test_away_for_a_while(
    client: TestClient, project: FakeLabelStudio, importing: Importing, engine: Engine
) -> None:
    project.failing = 2
    train(client)
    importing.act()
    shown = state(client)
    assert (shown["state"], "503" in shown["error"]) == ("fetching", True)
    assert importing.next() is None
    due_now(engine)
    importing.act()
    due_now(engine)
    importing.act()
    assert (state(client)["state"], state(client)["error"]) == ("queued", None)
    project.failing = 100
    end_task(engine)
    train(client)
    for _ in range(MOST_TRIES):
        assert state(client)["state"] in ("waiting", "fetching")
        due_now(engine)
        importing.act()
    assert (state(client)["state"], "503" in state(client)["error"]) == ("failed", True)


def due_now(engine: Engine) -> None:
    with write_session(engine) as session:
        session.execute(update(LabelStudioProject).values(due_at=0.0))


def lapse(engine: Engine) -> None:
    with write_session(engine) as session:
        session.execute(update(LabelStudioProject).values(lease_until=database_now() - 1))


def test_of_a_lost_worker_s_import_one_task_comes(
    client: TestClient,
    project: FakeLabelStudio,
    importing: Importing,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train(client)
    first = importing.next()
    assert first is not None
    assert importing.next() is None
    lapse(engine)
    second = importing.next()
    assert second is not None
    assert (second.number, second.attempt, second.tries) == (1, 2, 1)
    importing.run(first)  # it was not lost after all: what it took is not its own any more
    assert tasks(engine) == []
    assert state(client)["state"] == "fetching"
    # The second one makes the task, and is lost before it can say so.
    importing._made(second)
    lapse(engine)
    third = importing.next()
    assert third is not None
    with monkeypatch.context() as patched:  # as if it were made only now
        looks = iter([None, importing._task_before(third)])
        patched.setattr(importing, "_task_before", lambda _: next(looks))
        importing.run(third)
    (made,) = tasks(engine)
    assert (state(client)["state"], state(client)["task"]) == ("queued", f"/tasks/{made.id}")


@pytest.mark.parametrize(
    ("column", "longest"),
    [("due_at", projects.LONGEST_WAIT_SECONDS), ("lease_until", projects.LEASE_SECONDS)],
)
def test_what_was_put_off_before_the_clock_was_set_back_is_taken(
    client: TestClient, importing: Importing, engine: Engine, column: str, longest: float
) -> None:
    train(client)
    assert importing.next() is not None
    lapse(engine)
    for seconds, taken in ((longest, False), (365 * 86400, True)):
        with write_session(engine) as session:
            ahead = update(LabelStudioProject).values({column: database_now() + seconds})
            session.execute(ahead)
        assert (importing.next() is not None) == taken


@pytest.mark.races
def test_one_of_several_workers_takes_it(
    client: TestClient, importing: Importing, engine: Engine
) -> None:
    for round_ in range(1, 6):
        train(client)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: importing.next(), range(8)))
        (taken,) = [one for one in found if one is not None]
        assert (taken.number, taken.attempt) == (round_, round_)
        with ThreadPoolExecutor(4) as pool:  # one more is asked for while it ends
            asking = [pool.submit(train, client) for _ in range(3)]
            with write_session(engine) as session:
                projects.end(session, taken, ProjectState.NOTHING_NEW)
            for one in asking:
                one.result()
        assert state(client)["state"] == "waiting"


def test_workers_that_are_lost_again_and_again_end_it(
    client: TestClient, project: FakeLabelStudio, importing: Importing, engine: Engine
) -> None:
    train(client)
    for _ in range(MOST_TRIES):
        assert importing.next() is not None
        lapse(engine)
    assert importing.next() is None
    assert (state(client)["state"], "lost" in state(client)["error"]) == ("failed", True)


def test_a_worker_that_ends_gives_it_back(
    client: TestClient, project: FakeLabelStudio, importing: Importing, engine: Engine
) -> None:
    project.hold = threading.Event()
    train(client)
    taken = importing.next()
    assert taken is not None
    working = threading.Thread(target=importing.run, args=(taken,))
    working.start()
    importing.stopping.set()
    working.join(60)
    assert not working.is_alive()
    project.hold.set()
    project.hold = None
    importing.stopping.clear()
    importing.act()
    assert state(client)["state"] == "queued"
    with read_session(engine) as session:
        assert session.scalars(select(LabelStudioProject.tries)).one() == 0


def test_an_import_is_kept_while_a_large_export_is_read(
    client: TestClient,
    project: FakeLabelStudio,
    importing: Importing,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The event loop stands still for longer than the import is taken for."""
    train(client)
    taken = importing.next()
    assert taken is not None
    lapse(engine)
    renewed = threading.Event()
    monkeypatch.setattr(importing_module, "BEAT_SECONDS", 0.05)
    renew = projects.renew

    def renewing(session: Session, *values: Any) -> bool:
        found = renew(session, *values)
        renewed.set()
        return found

    def reading(data: bytes) -> str:
        assert renewed.wait(60)
        return "png"

    monkeypatch.setattr(projects, "renew", renewing)
    monkeypatch.setattr(gathering, "_suffix", reading)
    importing.run(taken)
    assert state(client)["state"] == "queued"


def test_a_full_disk_is_tried_again(
    client: TestClient,
    project: FakeLabelStudio,
    importing: Importing,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    train(client)
    with monkeypatch.context() as patched:
        patched.setattr(ZipFile, "writestr", full)
        importing.act()
    assert (state(client)["state"], "No space" in state(client)["error"]) == ("fetching", True)
    due_now(engine)
    importing.act()
    assert state(client)["state"] == "queued"


@pytest.mark.parametrize(
    "passing",
    [DiskFullProblem("it is full"), BusyProblem("too much"), UnavailableProblem("it is away", 2)],
)
def test_what_passes_is_tried_again(
    client: TestClient,
    project: FakeLabelStudio,
    importing: Importing,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    passing: Problem,
) -> None:
    def refused(*_: Any) -> None:
        raise passing

    train(client)
    with monkeypatch.context() as patched:
        patched.setattr("app.integrations.label_studio.importing.check_task_fits", refused)
        importing.act()
    assert (state(client)["state"], state(client)["error"]) == ("fetching", passing.detail)
    due_now(engine)
    importing.act()
    assert state(client)["state"] == "queued"


def test_a_model_that_may_not_learn_says_why(
    client: TestClient,
    project: FakeLabelStudio,
    importing: Importing,
    engine: Engine,
    blobs: BlobStore,
) -> None:
    with write_session(engine) as session:
        add_version(session, blobs, ["red"], live=False)
    train(client)
    importing.act()
    assert "is held and none is live" in state(client)["error"]


def test_models_learn_from_a_project_each_for_itself(
    client: TestClient,
    project: FakeLabelStudio,
    importing: Importing,
    engine: Engine,
    blobs: BlobStore,
) -> None:
    with write_session(engine) as session:
        for model in ("a", "b"):
            add_version(session, blobs, ["red"], model=model)
    for model in ("a", "b"):
        client.post(f"{BASE}/{model}/webhook", json=TRAIN)
    importing.act()
    assert sorted(one.spec["model"] for one in tasks(engine)) == ["a", "b"]
    assert state(client, "a")["task"] != state(client, "b")["task"]
    # A typing error in the backend's URL makes no model, and costs Label Studio nothing.
    project.came.clear()
    client.post(f"{BASE}/aa/webhook", json=TRAIN)
    importing.act()
    assert "no model 'aa'; did you mean 'a'" in state(client, "aa")["error"]
    assert project.came == []


Told = Callable[..., int]


@pytest.fixture
def told(client: TestClient) -> Told:
    def post(action: str, **values: Any) -> int:
        said = {"action": action, "project": {"id": 3}} | values
        return client.post(f"{BASE}/webhook", json=said).status_code

    return post


def test_annotations_are_counted_where_the_settings_say_so(
    told: Told, client: TestClient, engine: Engine
) -> None:
    one = {"annotation": {"id": 1, "result": [{"value": {"rle": [1] * 1000}}]}}
    assert told("ANNOTATION_CREATED", **one) == 200
    assert client.get(f"{BASE}/projects/3").status_code == 404
    with write_session(engine) as session:
        for count, waits in ((2, False), (2, False), (1, True), (3, True)):
            row = asking.note(session, 3, "default", count, 5, Asker())
            assert (row.state == ProjectState.WAITING) == waits
        assert row.annotations == 3


def test_enough_annotations_ask_for_training(settings: Settings, engine: Engine) -> None:
    service = create_app(with_settings(settings, label_studio_annotations=3))
    local = {"base_url": "http://127.0.0.1", "client": ("127.0.0.1", 50000)}
    with TestClient(service, **local) as client:  # type: ignore[arg-type]
        for said, waits in (
            ({"action": "ANNOTATION_CREATED", "annotation": {"id": 1}}, False),
            ({"action": "ANNOTATION_UPDATED", "annotation": {"id": 1}}, False),
            ({"action": "ANNOTATION_CREATED"}, False),
            ({"action": "ANNOTATIONS_CREATED", "annotation": [{"id": 2}, {"id": 3}]}, True),
        ):
            client.post(f"{BASE}/webhook", json={"project": {"id": 3}} | said)
            assert (state(client)["state"] == "waiting") == waits
        assert state(client)["annotations"] == 0


def test_any_action_is_heard(told: Told, client: TestClient) -> None:
    for action in (
        "ANNOTATION_UPDATED",
        "TASKS_CREATED",
        "PROJECT_UPDATED",
        "LABEL_LINK_DELETED",
        "WHATEVER",
    ):
        assert told(action, tasks=[{"id": 1}], deep={"a": [[{}]]}) == 200
    assert told("PROJECT_DELETED", project={"title": "no number"}) == 200
    assert told("START_TRAINING", project=None) == 400
    assert told("START_TRAINING", project={"id": -1}) == 400
    assert client.post(f"{BASE}/webhook", content=b"{").status_code == 400
    assert client.get(f"{BASE}/projects/3").status_code == 404
    assert told("START_TRAINING", project=3) == 200
    assert json.loads(client.get(f"{BASE}/projects/3").text)["state"] == "waiting"
