"""A time that is sent is a date: pydantic reads `2026` as so many seconds after 1970."""

import pytest

ODD = ["2026", "0.5", "1767225600", "-1", "1_0"]


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/admin/audit", "since"),
        ("/admin/audit", "until"),
        ("/tasks", "created_after"),
        ("/tasks", "created_before"),
    ],
)
def test_a_number_is_no_time(client, path, field, odd):
    refused = client.get(path, params={field: odd})
    assert refused.status_code == 422
    (fault,) = refused.json()["errors"]
    assert fault["field"] == f"query.{field}"
    assert fault["code"] == "wrong_type"


@pytest.mark.parametrize("odd", [2_000_000_000, 2e9, True, "2000000000"])
def test_a_number_is_not_when_a_key_ends(client, odd):
    wish = {"name": "phone", "scopes": ["segment"], "expires_at": odd}
    refused = client.post("/admin/keys", json=wish)
    assert refused.status_code == 422
    (fault,) = refused.json()["errors"]
    assert fault["field"] == "expires_at"


@pytest.mark.parametrize("written", ["2026-01-01T00:00:00Z", "2026-01-01T01:00+01:00"])
def test_a_date_is_a_time(client, written):
    assert client.get("/tasks", params={"created_after": written}).status_code == 200
