"""`parent`, and models whose versions are all held, when a task is posted."""

from app.db import write_session
from tests.app.tasks.posting import drawn, post
from tests.fixtures.versions import add_version


def test_a_task_on_a_held_base_is_refused_and_says_what_to_do(client, engine, blobs, tmp_path):
    with write_session(engine) as session:
        add_version(session, blobs, ["cat"], live=False)
    answer = post(client, drawn(tmp_path, "dog"))
    assert answer.status_code == 409
    problem = answer.json()
    assert problem["type"] == "urn:sats:problem:nothing-to-start-from"
    assert "PUT /admin/models/default/aliases/live" in problem["detail"]
    assert '"parent": 1' in problem["detail"]
    assert client.get("/tasks?state=queued").json()["items"] == []
    assert post(client, drawn(tmp_path, "dog"), {"parent": 1}).status_code == 202
    assert post(client, drawn(tmp_path, "dog"), {"model": "other"}).status_code == 202
    client.post("/admin/models/default/versions/1:promote").raise_for_status()
    assert post(client, drawn(tmp_path, "dog", seed=1)).status_code == 202


def test_an_unknown_parent_is_named(client, engine, blobs, tmp_path):
    def refused():
        answer = post(client, drawn(tmp_path, "dog"), {"parent": 2})
        assert answer.status_code == 422
        (error,) = answer.json()["errors"]
        return error

    expected = {
        "field": "spec.parent",
        "code": "unknown",
        "message": "model 'default' has no version 2 to start from",
    }
    assert refused() == expected, "where there is no model"
    with write_session(engine) as session:
        add_version(session, blobs, ["cat"])
    assert refused() == expected, "where there is one"
    assert post(client, drawn(tmp_path, "dog"), {"parent": 0}).status_code == 422


def test_classes_are_new_to_the_parent_and_not_to_the_live_version(client, engine, blobs, tmp_path):
    with write_session(engine) as session:
        add_version(session, blobs, ["cat"])
        add_version(session, blobs, ["dog"])
    assert post(client, drawn(tmp_path, "dog")).status_code == 422
    answer = post(client, drawn(tmp_path, "dog"), {"parent": 1})
    assert answer.status_code == 202
    assert answer.json()["spec"]["parent"] == 1
    again = post(client, drawn(tmp_path, "cat"), {"parent": 1, "classes": ["cat"]})
    assert again.json()["errors"][0]["class"] == "cat"
