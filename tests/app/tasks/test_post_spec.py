"""`spec` as a file of its own."""

import json
from typing import Any

import pytest

from app.http.multipart import SPEC_BYTES
from tests.app.tasks.posting import SPEC, drawn, post


def _post(client: Any, pets: Any, spec: bytes) -> Any:
    files = {"dataset": ("data.zip", pets.read_bytes()), "spec": ("spec.json", spec)}
    return client.post("/tasks", files=files)


def test_a_spec_that_is_a_file_is_read(client: Any, pets: Any) -> None:
    assert _post(client, pets, json.dumps(SPEC).encode()).status_code == 202


def test_a_spec_that_is_a_file_is_bounded(client: Any, pets: Any) -> None:
    spec = json.dumps(SPEC).encode()
    longest = spec + b" " * (SPEC_BYTES - len(spec))
    assert _post(client, pets, longest).status_code == 202
    answer = _post(client, pets, longest + b" ")
    assert answer.status_code == 413
    assert answer.json()["errors"][0]["field"] == "spec"


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"name": "gnp\u202e.cat"}, "spec.name"),
        ({"classes": ["tac\u2066"]}, "spec.classes.0"),
        ({"name": "p\u00adets"}, "spec.name"),
        ({"classes": ["cat", "cat\u200b"]}, "spec.classes.1"),
        ({"model": "street\u2060"}, "spec.model"),
    ],
)
def test_names_that_turn_the_text_around_them_are_not_posted(
    client: Any, pets: Any, spec: Any, field: str
) -> None:
    answer = post(client, pets, spec)
    assert answer.status_code == 422, answer.text
    assert [fault["field"] for fault in answer.json()["errors"]] == [field]


def test_a_data_set_is_not_posted_with_such_names(client: Any, tmp_path: Any) -> None:
    answer = post(client, drawn(tmp_path, "cat", "tac\u202e"))
    assert answer.status_code == 422, answer.text
    (fault,) = answer.json()["errors"]
    assert fault["class"] == "tac?"


def test_marks_of_hebrew_and_arabic_text_are_posted(client: Any, tmp_path: Any) -> None:
    marked = "\u200f\u05d7\u05ea\u05d5\u05dc"
    answer = post(client, drawn(tmp_path, marked), {"name": marked, "classes": [marked]})
    assert answer.status_code == 202, answer.text
