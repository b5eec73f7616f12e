"""Versions, tasks and failures of every kind have a page."""

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from app.db import Model, Task, TaskState, Version, utc_now, write_session
from app.main import create_app
from app.settings import Settings
from app.storage import BlobStore
from tests.app.web.showcase import begin, furnish

pytestmark = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)

PAGE = "/ui/models/default/versions/"
NOTHING = dict.fromkeys(
    ("miou_old", "miou_new", "miou_all", "mean_forgetting", "pixel_accuracy"), None
)


@pytest.fixture
def tasks(engine: Engine, blobs: BlobStore) -> dict[str, str]:
    return furnish(engine, blobs)


def change(engine: Engine, number: int, **values: object) -> None:
    with write_session(engine) as session:
        version = session.query(Version).filter_by(number=number).one()
        for name, value in values.items():
            setattr(version, name, value)


def test_an_import_that_was_never_scored(
    client: TestClient, engine: Engine, tasks: dict[str, str]
) -> None:
    origin = {
        "source": "segformer.zip",
        "sha256": "0" * 64,
        "architecture": "SegformerForSemanticSegmentation",
        "transformers": None,
        "background": None,
    }
    scores = {**NOTHING, "iou": {}, "introduced": {}, "forgetting": {}, "pictures": 0}
    settings = {"backbone": "mit_b0", "size": 512}
    change(engine, 1, gate=None, origin=origin, scores=scores, settings=settings)
    shown = client.get(f"{PAGE}1")
    assert shown.status_code == 200
    assert "Imported: no gate judged it." in shown.text
    assert "segformer.zip" in shown.text
    assert client.get("/ui/models/default").status_code == 200
    assert client.get("/ui/models/default/curves").status_code == 200
    assert client.get(f"/ui/tasks/{tasks['version 1']}").status_code == 200


def test_a_deleted_version_has_a_record(
    client: TestClient, engine: Engine, tasks: dict[str, str]
) -> None:
    change(engine, 3, deleted_at=utc_now())
    shown = client.get(f"{PAGE}3").text
    assert "Deleted" in shown
    assert "data-dialog" not in shown
    assert "/files/" not in shown
    assert "deleted" in client.get("/ui/models/default").text


def test_progress_is_of_the_present_phase(
    client: TestClient, engine: Engine, tasks: dict[str, str]
) -> None:
    begin(engine, tasks["buses"])
    with write_session(engine) as session:
        task = session.get_one(Task, tasks["buses"])
        task.progress = {"phase": "validating", "step": 71, "steps": 72}
    here = f"/ui/tasks/{tasks['buses']}"
    assert "of 72" in client.get(here).text
    with write_session(engine) as session:
        session.get_one(Task, tasks["buses"]).state = TaskState.TRAINING
    assert "of 72" not in client.get(here).text + client.get("/ui/tasks").text


def test_a_model_without_versions(client: TestClient, engine: Engine) -> None:
    with write_session(engine) as session:
        session.add(Model(name="empty"))
    assert "No versions yet" in client.get("/ui/models/empty").text
    assert "nothing is live yet" in client.get("/").text
    assert client.get("/ui/models/empty/curves").status_code == 200


def test_what_people_wrote_is_text(
    client: TestClient, engine: Engine, tasks: dict[str, str]
) -> None:
    wrong = "<script>alert(1)</script>'\"`{{7*7}}"
    change(engine, 5, new_classes=[wrong], backbone_start=wrong)
    with write_session(engine) as session:
        version = session.query(Version).filter_by(number=5).one()
        named = {"index": 1, "name": wrong, "colour": [1, 2, 3], "step": 0}
        version.classes = [version.classes[0], named]
        version.scores = {**version.scores, "iou": {**version.scores["iou"], wrong: 0.5}}
    for path in ("/", "/ui/models/default", "/ui/models/default/curves", f"{PAGE}5", f"{PAGE}3"):
        shown = client.get(path).text
        assert "<script>alert" not in shown, path
        assert "49" not in shown.split("alert(1)", 1)[-1][:60], path
    listed = client.get("/ui/tasks", params={"text": wrong}).text
    assert "<script>alert" not in listed


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/ui/nothing", 404),
        ("/ui/tasks/7", 404),
        ("/ui/tasks/00000000-0000-4000-8000-000000000000", 404),
        ("/ui/tasks?cursor=x", 422),
        ("/ui/models/Not%20A%20Name", 404),
        ("/ui/models/default/versions/0", 404),
    ],
)
def test_what_is_asked_wrongly_is_told_on_a_page(
    client: TestClient, path: str, status: int
) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "<h1>" in answer.text


def test_a_database_that_does_not_answer_is_told_on_a_page(settings: Settings) -> None:
    limits = {"database_connections": 1, "database_connect_seconds": 1}
    service = create_app(settings.model_copy(update=limits))
    from_here = {"base_url": "http://127.0.0.1", "client": ("127.0.0.1", 50000)}
    with TestClient(service, **from_here) as client, service.state.services.engine.connect():
        answer = client.get("/")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert "the database does not answer" in answer.text
    assert answer.headers["Content-Type"].startswith("text/html")
