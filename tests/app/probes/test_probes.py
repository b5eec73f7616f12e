import os
import shutil

import pytest
from sqlalchemy import text
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from app.db import write_session
from app.db.migrate import upgrade
from app.main import create_app
from app.processes.restarts import SIBLINGS, SUPERVISED, write_restarts, write_siblings_restarts
from tests.fixtures.samples import samples
from tests.fixtures.versions import add_version


def test_alive_and_ready(client, settings):
    assert client.get("/health/live").json() == {"status": "ok"}
    skipped = None if settings.redis_url else 0
    restarts = {"worker_restarts": None, "api_restarts": None}
    ready = {"status": "ok", **restarts, "skipped_messages": skipped, "down": {}}
    assert client.get("/health/ready").json() == ready


def test_what_machines_ask_for_every_few_seconds_is_not_logged(client):
    with capture_logs() as logs:
        for path in ("/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"):
            assert client.get(path).status_code == 200
        client.get("/v2")
    assert [line["path"] for line in logs if line["event"] == "request"] == ["/v2"]


def test_restarts_of_the_api_are_told_whoever_starts_it_again(
    client, settings, tmp_path, monkeypatch
):
    assert ("sats_api_restarts_total",) not in samples(client)
    write_restarts(settings.restarts_file, worker=1, api=2)
    assert client.get("/health/ready").json()["api_restarts"] is None, "it is another one's"
    monkeypatch.setenv(SUPERVISED, "1")
    assert client.get("/health/ready").json()["api_restarts"] == 2
    assert samples(client)["sats_api_restarts_total",] == 2
    monkeypatch.setenv(SIBLINGS, str(tmp_path))
    assert client.get("/health/ready").json()["api_restarts"] == 2
    write_siblings_restarts(tmp_path, 5)
    assert client.get("/health/ready").json()["api_restarts"] == 7
    settings.restarts_file.unlink()
    assert client.get("/health/ready").json()["api_restarts"] == 5
    assert samples(client)["sats_api_restarts_total",] == 5


def test_a_record_of_a_version_from_before_tells_what_it_has(client, settings, monkeypatch):
    monkeypatch.setenv(SUPERVISED, "1")
    settings.restarts_file.write_text('{"worker_restarts": 4}')
    with capture_logs() as logs:
        ready = client.get("/health/ready").json()
    assert (ready["worker_restarts"], ready["api_restarts"]) == (4, None)
    assert "restarts_not_read" not in {line["event"] for line in logs}
    settings.restarts_file.write_text("4")
    with capture_logs() as logs:
        assert client.get("/health/ready").json()["api_restarts"] is None
    assert "restarts_not_read" in {line["event"] for line in logs}


def test_skipped_messages_and_restarts_of_the_worker_are_told(client, settings):
    write_restarts(settings.restarts_file, 3)
    embedded = settings.redis_url is None
    if embedded:
        settings.data_dir.joinpath("broker", "unreadable", "0_a.sats.msg").touch()
    ready = client.get("/health/ready").json()
    assert (ready["worker_restarts"], ready["skipped_messages"]) == (3, 1 if embedded else None)
    read = samples(client)
    assert read["sats_worker_restarts_total",] == 3
    assert read.get(("sats_broker_skipped_messages",)) == (1 if embedded else None)


def test_a_damaged_record_of_restarts_harms_nobody(client, settings):
    settings.restarts_file.write_text("{")
    assert client.get("/health/ready").json()["worker_restarts"] is None


def test_a_database_that_was_not_migrated_is_named(client, engine):
    with engine.execution_options(write=True).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:sats:problem:not-ready"
    assert [error["field"] for error in answer.json()["errors"]] == ["database"]


def test_a_database_that_a_newer_version_migrated_does_not_make_it_unready(client, engine):
    with engine.execution_options(write=True).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert client.get("/health/ready").status_code == 200
    upgrade(engine)  # as an older worker does that starts again meanwhile
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "9999"


def test_a_blob_directory_that_is_gone_is_named(client, settings):
    shutil.rmtree(settings.blob_dir)
    answer = client.get("/health/ready")
    assert [error["field"] for error in answer.json()["errors"]] == ["blobs"]


@pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
def test_a_broker_whose_folder_cannot_be_written_is_named(client, settings):
    assert client.get("/health/ready").status_code == 200
    folder = settings.data_dir / "broker" / "messages"
    folder.rmdir()
    folder.touch()
    answer = client.get("/health/ready")
    assert [error["field"] for error in answer.json()["errors"]] == ["broker"]


def test_a_broker_that_is_down_is_named(settings):
    nowhere = settings.model_copy(update={"redis_url": "redis+socket:///nowhere/redis.sock"})
    with TestClient(create_app(nowhere)) as client:
        answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert [error["field"] for error in answer.json()["errors"]] == ["broker"]


def test_requests_are_counted_by_route_and_not_by_id(client):
    client.get("/tasks/00000000-0000-4000-8000-000000000001")
    client.get("/tasks/00000000-0000-4000-8000-000000000002")
    client.get("/admin/models/default/versions/7")
    client.get("/nowhere")
    read = samples(client)
    count = "sats_http_requests_total"
    status = ("status", "404")
    assert read[count, ("method", "GET"), ("path", "/tasks/{task_id}"), status] == 2
    path = ("path", "/admin/models/{model}/versions/{number}")
    assert read[count, ("method", "GET"), path, status] == 1
    assert read[count, ("method", "(none)"), ("path", "(none)"), status] == 1


def test_tasks_and_live_versions_are_told(client, engine, blobs):
    with write_session(engine) as session:
        add_version(session, blobs, ["cat"])
        add_version(session, blobs, ["dog"])
        add_version(session, blobs, ["car"], model="street", live=False)
    read = samples(client)
    assert read["sats_live_version", ("model", "default")] == 2
    assert ("sats_live_version", ("model", "street")) not in read
    assert read["sats_tasks", ("state", "live")] == 2
    assert read["sats_tasks", ("state", "held")] == 1
    assert read["sats_tasks", ("state", "queued")] == 0


def test_of_several_processes_behind_a_port_each_tells_which_one_it_is(settings):
    several = create_app(settings.model_copy(update={"api_workers": 2}))
    with TestClient(several) as client:
        client.get("/health/live")
        client.app.state.services.inference.measures.ran("cat", 1, 1)
        read = samples(client)
    told = {name: dict(labels).get("process") for name, *labels in read}
    process = str(os.getpid())
    for name in ("http_requests_total", "http_request_seconds_bucket"):
        assert told[f"sats_{name}"] == process
    for name in ("count_total", "queue_seconds_sum", "free_pictures"):
        assert told[f"sats_inference_{name}"] == process
    assert told["sats_tasks"] is told["sats_database_up"] is None
