"""Forms whose content type names a character set."""

import pytest
from starlette.testclient import TestClient

END = b"--edge--\r\n"
NO_TEXT = "undefined", "punycode"
"""Codecs that fail where text is expected."""
HALVES = "unicode_escape", "raw_unicode_escape", "utf-7"
"""Codecs that make half a character of ASCII."""


def form(charset: str) -> dict[str, str]:
    return {"Content-Type": f"multipart/form-data; boundary=edge; charset={charset}"}


def part(name: str, text: str = "") -> bytes:
    return f'--edge\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'.encode()


@pytest.mark.parametrize("charset", [*NO_TEXT, '"undefined"', *HALVES])
@pytest.mark.parametrize("path", ["/tasks", "/uploads", "/admin/models/default/versions"])
def test_no_character_set_breaks_a_form(client: TestClient, path: str, charset: str) -> None:
    body = part("\\ud800") + part("+2AA-") + END
    answer = client.post(path, content=body, headers=form(charset))
    assert answer.status_code == 422
    assert "\\ud800" in {one["field"] for one in answer.json()["errors"]}


def test_no_character_set_breaks_a_spec_that_comes_first(client: TestClient) -> None:
    body = part("spec", '{"name": "ü"}') + END
    path = "/admin/models/default/versions"
    answer = client.post(path, content=body, headers=form("undefined"))
    assert [one["field"] for one in answer.json()["errors"]] == ["checkpoint"]


def test_no_character_set_breaks_a_login(client: TestClient) -> None:
    body = part("key", "sats_nobody") + END
    answer = client.post("/login", content=body, headers=form("undefined"))
    assert answer.status_code == 401
