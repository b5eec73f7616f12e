import threading

import pytest
from sqlalchemy import update

from app.db import Task, TaskState, utc_now, write_session
from app.errors import ErrorDetail, InvalidDatasetProblem
from tests.app.tasks.posting import post

NOBODY = "00000000-0000-4000-8000-000000000000"


def _set(engine, task_id, **values):
    with write_session(engine) as session:
        session.execute(update(Task).where(Task.id == task_id).values(**values))


def _post_many(client, dataset, number, **spec):
    return [post(client, dataset, spec | {"name": str(n)}).json()["id"] for n in range(number)]


def test_tasks_are_listed_newest_first_and_by_pages(client, pets):
    ids = _post_many(client, pets, 5)
    seen, before = [], None
    while True:
        query = {"limit": 2} | ({"cursor": before} if before else {})
        page = client.get("/tasks", params=query).json()
        seen += [task["id"] for task in page["items"]]
        before = page["next_cursor"]
        if before is None:
            break
    assert seen == ids[::-1]


def test_the_list_is_narrowed_by_model_and_state(client, engine, pets):
    first, second = _post_many(client, pets, 2)
    (other,) = _post_many(client, pets, 1, model="other")
    _set(engine, second, state=TaskState.FAILED)

    def ids(**query):
        return [task["id"] for task in client.get("/tasks", params=query).json()["items"]]

    assert ids(model="other") == [other]
    assert ids(model="default") == [second, first]
    assert ids(state="queued") == [other, first]
    assert ids(model="default", state="failed") == [second]
    assert ids(model="none") == []


@pytest.mark.parametrize(
    "query",
    [{"limit": 0}, {"limit": 201}, {"state": "x"}, {"cursor": "x"}, {"model": "\0"}],
)
def test_wrong_list_queries_are_named(client, query):
    answer = client.get("/tasks", params=query)
    assert answer.status_code == 422
    (name,) = query
    assert answer.json()["errors"][0]["field"].removesuffix(".0") == f"query.{name}"


def test_an_unknown_task_is_404(client):
    assert client.get(f"/tasks/{NOBODY}").status_code == 404
    assert client.get(f"/tasks/{NOBODY}/events").status_code == 404
    assert client.get(f"/tasks/{NOBODY}/log").status_code == 404
    assert client.post(f"/tasks/{NOBODY}:cancel").status_code == 404
    assert client.post(f"/tasks/{NOBODY}:retry").status_code == 404


@pytest.mark.parametrize("wrong", ["x", "%00", "1" * 5000, NOBODY + "x"])
def test_an_id_that_is_none_is_refused(client, wrong):
    assert client.get(f"/tasks/{wrong}").status_code == 422
    assert client.post(f"/tasks/{wrong}:cancel").status_code == 422
    assert client.post(f"/tasks/{wrong}:retry").status_code == 422


def test_places_in_the_queue_count_only_what_a_task_waits_for(client, engine, pets):
    ids = _post_many(client, pets, 2) + _post_many(client, pets, 1, model="other")

    def places():
        tasks = {task["id"]: task for task in client.get("/tasks").json()["items"]}
        return [tasks[task_id]["queue_place"] for task_id in ids]

    assert places() == [1, 2, 1]
    _set(engine, ids[0], state=TaskState.TRAINING)
    assert places() == [None, 1, 1]


def test_a_failed_task_says_why(client, engine, pets):
    (task_id,) = _post_many(client, pets, 1)
    fault = ErrorDetail("cannot be read", file="JPEGImages/a.jpg")
    problem = InvalidDatasetProblem("1 picture cannot be read", [fault])
    _set(engine, task_id, state=TaskState.FAILED, error=problem.body())
    error = client.get(f"/tasks/{task_id}").json()["error"]
    assert error["type"] == "urn:sats:problem:invalid-dataset"
    assert error["errors"][0]["file"] == "JPEGImages/a.jpg"


def test_a_waiting_task_is_cancelled_at_once(client, pets, settings, blobs):
    first, second = _post_many(client, pets, 2)
    answer = client.post(f"/tasks/{first}:cancel")
    assert (answer.status_code, answer.json()["state"]) == (202, "cancelled")
    assert answer.json()["finished_at"] is not None
    stored = [p for p in settings.blob_dir.rglob("*") if p.is_file()]
    assert len(stored) == 1, "the other task still needs the data set"
    client.post(f"/tasks/{second}:cancel")
    assert not [p for p in settings.blob_dir.rglob("*") if p.is_file()]
    again = client.post(f"/tasks/{first}:cancel")
    assert again.status_code == 409
    assert "cancelled" in again.json()["detail"]


def test_a_running_task_is_asked_to_stop(client, engine, pets):
    (task_id,) = _post_many(client, pets, 1)
    _set(engine, task_id, state=TaskState.TRAINING)
    answer = client.post(f"/tasks/{task_id}:cancel").json()
    assert (answer["phase"], answer["cancel_requested"]) == ("training", True)
    assert client.post(f"/tasks/{task_id}:cancel").status_code == 202


@pytest.mark.parametrize("state", ["live", "held", "failed", "cancelled"])
def test_an_ended_task_cannot_be_cancelled(client, engine, pets, state):
    (task_id,) = _post_many(client, pets, 1)
    _set(engine, task_id, state=state)
    assert client.post(f"/tasks/{task_id}:cancel").status_code == 409


def test_a_failed_task_is_tried_again(client, engine, pets):
    (task_id,) = _post_many(client, pets, 1)
    problem = InvalidDatasetProblem("1 picture cannot be read").body()
    failed = {"state": TaskState.FAILED, "error": problem, "finished_at": utc_now(), "tries": 3}
    _set(engine, task_id, **failed)
    answer = client.post(f"/tasks/{task_id}:retry")
    task = answer.json()
    assert (answer.status_code, task["state"], task["tries"]) == (202, "queued", 0)
    assert (task["error"], task["finished_at"], task["queue_place"]) == (None, None, 1)
    again = client.post(f"/tasks/{task_id}:retry")
    assert again.status_code == 409
    assert again.json()["type"] == "urn:sats:problem:task-not-failed"
    assert "this one is queued" in again.json()["detail"]


def test_a_failed_task_whose_files_were_removed_is_not(client, engine, pets):
    (task_id,) = _post_many(client, pets, 1)
    _set(engine, task_id, state=TaskState.FAILED, tidied_at=utc_now())
    answer = client.post(f"/tasks/{task_id}:retry")
    assert answer.status_code == 409
    assert "files were removed" in answer.json()["detail"]


def test_a_cancel_that_meets_a_claim_waits_for_it(served, engine, pets):
    from worker.claim import claim

    task_id = post(served, pets).json()["id"]
    seen = []
    cancel = threading.Thread(
        target=lambda: seen.append(served.post(f"/tasks/{task_id}:cancel").json())
    )
    with write_session(engine) as session:
        assert claim(session, task_id, "w", 30) is not None
        cancel.start()
        cancel.join(0.5)
        assert cancel.is_alive(), "it was answered beside a claim that may still come to nothing"
    cancel.join()
    assert (seen[0]["phase"], seen[0]["cancel_requested"]) == ("validating", True)
