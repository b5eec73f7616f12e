"""A number in a URL is digits: what else pydantic would read as one is refused."""

import pytest

from app.db import write_session
from tests.fixtures.versions import add_version

ODD = ["1_0", "%201", "%2B1", "1.0", "01_0", "%D9%A1"]


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize(
    ("method", "path", "field"),
    [
        ("POST", "/segment?version={}", "query.version"),
        ("POST", "/segment?size={}", "query.size"),
        ("POST", "/hf/default?version={}", "query.version"),
        ("GET", "/classes?version={}", "query.version"),
        ("GET", "/admin/models/default/versions/{}", "path.number"),
        ("GET", "/admin/models/default/versions/{}/forgetting", "path.number"),
    ],
)
def test_a_number_is_digits(client, method, path, field, odd):
    refused = client.request(method, path.format(odd))
    assert refused.status_code == 422
    assert {fault["field"] for fault in refused.json()["errors"]} == {field}


def test_digits_are_a_number(client, engine, blobs):
    with write_session(engine) as session:
        add_version(session, blobs, ["cat"])
    assert client.get("/classes?version=1").json()["version"] == 1
    assert client.get("/admin/models/default/versions/01").json()["number"] == 1
