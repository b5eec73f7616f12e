"""Query parameters of `/tasks` that are not known, or come twice, are told."""

import pytest

from tests.app.tasks.posting import SPEC, drawn

KNOWN = (
    "model=default&state=queued&state=running&outcome=live&submitter=eva&text=a&view=full&limit=5"
    "&created_after=2026-01-01&created_before=2027-01-01"
)


def test_what_the_list_knows_is_taken(client):
    assert client.get(f"/tasks?{KNOWN}").status_code == 200
    cursor = client.get("/tasks?cursor=WyJ0YXNrcyIsMTdd")
    assert cursor.status_code == 200


@pytest.mark.parametrize(
    ("query", "field", "code"),
    [
        ("stat=queued", "query.stat", "unknown"),
        ("limit=5&limit=6", "query.limit", "repeated"),
        ("view=full&view=summary", "query.view", "repeated"),
        ("State=queued", "query.State", "unknown"),
    ],
)
def test_what_it_does_not_know_is_named(client, query, field, code):
    refused = client.get(f"/tasks?{query}")
    assert refused.status_code == 422
    assert [(e["field"], e["code"]) for e in refused.json()["errors"]] == [(field, code)]


def test_a_post_has_none(client, tmp_path):
    files = {"dataset": ("d.zip", drawn(tmp_path, "cat").read_bytes())}
    refused = client.post("/tasks?model=farm", files=files, data={"spec": str(SPEC)})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "query.model"


def test_a_task_has_none(client):
    task = "00000000-0000-4000-8000-000000000000"
    assert client.get(f"/tasks/{task}").status_code == 404
    assert client.get(f"/tasks/{task}?full=1").status_code in (404, 422)


def test_names_are_found_in_upper_and_lower_case_of_any_alphabet(client, tmp_path):
    from tests.app.tasks.posting import post

    pets = drawn(tmp_path, "cat")
    post(client, pets, {"name": "Ärger im ÖL"})
    post(client, pets, {"name": "plain"})
    for text in ("ärger", "ÄRGER", "öl"):
        found = client.get("/tasks", params={"text": text}).json()["items"]
        assert [task["name"] for task in found] == ["Ärger im ÖL"], text
