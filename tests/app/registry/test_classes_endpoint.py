import pytest

from app.db import write_session
from tests.fixtures.versions import add_version


def test_no_model_is_404_and_nothing_live_is_409(client, engine, blobs):
    answer = client.get("/classes")
    assert answer.status_code == 404
    assert "POST /tasks" in answer.json()["detail"]
    with write_session(engine) as session:
        add_version(session, blobs, ["cat"], live=False)
    answer = client.get("/classes")
    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:sats:problem:no-live-version"
    assert client.get("/classes", params={"version": 1}).status_code == 200


def test_classes_say_which_version_brought_them(client, engine, blobs):
    with write_session(engine) as session:
        add_version(session, blobs, ["cat", "dog"])
        add_version(session, blobs, ["cow"], live=False)
        add_version(session, blobs, ["sheep"])
    found = client.get("/classes").json()
    assert (found["model"], found["version"]) == ("default", 3)
    assert [(c["index"], c["name"], c["version"]) for c in found["classes"]] == [
        (0, "background", 1),
        (1, "cat", 1),
        (2, "dog", 1),
        (4, "sheep", 3),
    ]
    assert found["classes"][1]["color"] == "#800000"
    older = client.get("/classes", params={"version": 1}).json()
    assert [c["name"] for c in older["classes"]] == ["background", "cat", "dog"]


@pytest.mark.parametrize("query", [{"version": 0}, {"version": "x"}, {"model": "A B"}])
def test_wrong_queries_are_named(client, query):
    answer = client.get("/classes", params=query)
    assert answer.status_code == 422
    (name,) = query
    assert answer.json()["errors"][0]["field"] == f"query.{name}"
