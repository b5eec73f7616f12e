"""`spec` as a file of its own."""

import json
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import Engine

from app.db import Task, write_session
from app.http.multipart import SPEC_BYTES
from app.imports.schemas import ImportWish
from app.tasks.posted import PostedTask
from app.tasks.schemas import TaskSpec
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


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"epochs": True}, "spec.epochs"),
        ({"epochs": "12"}, "spec.epochs"),
        ({"accumulate": "2"}, "spec.accumulate"),
        ({"min_memory_mib": True}, "spec.min_memory_mib"),
        ({"priority": False}, "spec.priority"),
        ({"parent": "1"}, "spec.parent"),
        ({"memory": "40"}, "spec.memory"),
        ({"learning_rate": "0.001"}, "spec.learning_rate"),
        ({"warmup": False}, "spec.warmup"),
        ({"held_out": {"share": "0.3"}}, "spec.held_out.share"),
        ({"gate": {"min_iou": True}}, "spec.gate.min_iou"),
    ],
)
def test_what_is_no_number_is_taken_for_none(client: Any, pets: Any, spec: Any, field: str) -> None:
    answer = post(client, pets, spec)
    assert answer.status_code == 422, answer.text
    (fault,) = answer.json()["errors"]
    assert (fault["field"], fault["code"]) == (field, "wrong_type")


@pytest.mark.parametrize("value", [True, "20"])
def test_a_methods_setting_is_no_truth_value_and_no_text(
    client: Any, pets: Any, value: Any
) -> None:
    spec = {"method": "sats", "method_settings": {"distillation_weight": value}}
    answer = post(client, pets, spec)
    assert answer.status_code == 422, answer.text
    (fault,) = answer.json()["errors"]
    assert fault["message"].startswith("method_settings.distillation_weight: a number belongs here")


def test_a_weight_of_1_is_one_of_1_0(client: Any, pets: Any) -> None:
    def said(weight: float, **settings: Any) -> Any:
        settings = {"distillation_weight": weight, **settings}
        how = {"method": "sats_plus", "method_settings": settings}
        return post(client, pets, how, **{"Idempotency-Key": "a"})

    first = said(1, realign=False)
    assert first.status_code == 202, first.text
    again = said(1.0, realign=False)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    kept = first.json()["spec"]["method_settings"]
    assert kept == {"distillation_weight": 1.0, "realign": False}, "and nothing that was not said"
    for other in (said(2, realign=False), said(1.0)):
        assert other.json()["type"].endswith("idempotency-key-reused"), other.text


def test_what_json_calls_a_whole_number_is_one(client: Any, pets: Any) -> None:
    posted = post(client, pets, {"epochs": 12.0, "learning_rate": 1, "priority": -1})
    assert posted.status_code == 202, posted.text
    spec = posted.json()["spec"]
    assert (spec["epochs"], spec["learning_rate"], spec["priority"]) == (12, 1.0, -1)
    for wrong in (12.5, "twelve", [12], {"a": 1}):
        answer = post(client, pets, {"epochs": wrong})
        assert [one["field"] for one in answer.json()["errors"]] == ["spec.epochs"]


def test_every_number_of_a_posted_spec_is_strict() -> None:
    for record in (PostedTask, ImportWish):
        properties = record.model_json_schema()["properties"]
        for name, schema in properties.items():
            kinds = {one.get("type") for one in (schema, *schema.get("anyOf", ()))}
            if kinds & {"integer", "number"}:
                for value in (True, "1"):
                    with pytest.raises(ValidationError) as wrong:
                        record.model_validate_json(json.dumps({"name": "a", name: value}))
                    assert [one["loc"] for one in wrong.value.errors()] == [(name,)]


def test_what_was_stored_before_is_read_as_it_was_taken(
    client: Any, engine: Engine, pets: Any
) -> None:
    task = post(client, pets, {"epochs": 3}).json()["id"]
    with write_session(engine) as session:
        row = session.get_one(Task, task)
        row.spec = row.spec | {"epochs": "12", "priority": True}
    assert TaskSpec.model_validate(row.spec).epochs == 12
    answer = client.get(f"/tasks/{task}")
    assert answer.status_code == 200
