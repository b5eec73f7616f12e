"""What fails behind an answer is told to the operator, and takes nothing from the client."""

import http.client
from contextlib import closing
from urllib.parse import urlsplit

import httpx
import pytest
from structlog.testing import capture_logs

from app.db import Task, read_session, write_session
from app.main import create_app
from app.storage.references import lock_blobs
from tests.app.tasks.posting import drawn, post
from tests.fixtures.processes import serving
from tests.worker.bench import eventually


@pytest.mark.parametrize("database_url", ["served"], indirect=True)
def test_the_connection_stays_where_an_upload_cannot_be_dropped_yet(settings, engine, tmp_path):
    app = create_app(settings.model_copy(update={"database_lock_seconds": 0.2}))
    with serving(app) as url, capture_logs() as logs:
        with httpx.Client(base_url=url) as client:
            task_id = post(client, drawn(tmp_path, "cat", "dog")).json()["id"]
        with read_session(engine) as session:
            (dataset, *_) = session.get_one(Task, task_id).blobs
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
        with closing(connection), write_session(engine) as session:
            lock_blobs(session, [dataset])  # as a post of the same bytes does
            connection.request("POST", f"/tasks/{task_id}:cancel")
            answer = connection.getresponse()
            assert (answer.status, answer.getheader("connection")) == (202, None)
            answer.read()
            eventually(lambda: any(entry["log_level"] == "error" for entry in logs))
            kept = connection.sock
            connection.request("GET", f"/tasks/{task_id}")
            assert connection.getresponse().status == 200
            assert connection.sock is kept
    (told,) = [entry for entry in logs if entry["log_level"] == "error"]
    assert (told["event"], told["work"]) == ("not_done_after_the_answer", "drop_uploads")
