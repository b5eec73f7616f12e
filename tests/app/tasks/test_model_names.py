"""A model is made on purpose: a typing error in its name makes none."""

import pytest
from sqlalchemy import func, select

from app.db import Model, Task, read_session, write_session
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key
from app.registry.service import ensure_model
from tests.app.tasks.posting import drawn, post


@pytest.fixture
def pets(tmp_path):
    return drawn(tmp_path, "cat")


@pytest.fixture
def models(engine):
    with write_session(engine) as session:
        for name in ("farm", "farms", "street"):
            ensure_model(session, name)


def count(engine):
    with read_session(engine) as session:
        return session.scalar(select(func.count()).select_from(Model))


def test_the_first_model_of_a_service_needs_no_word(client, pets):
    assert post(client, pets, {"create": False}).status_code == 202


def test_a_model_that_is_there_needs_no_word(client, pets, models):
    assert post(client, pets, {"model": "farm", "create": False}).status_code == 202


def test_a_typing_error_is_told_with_names_near_it_and_makes_nothing(client, pets, models, engine):
    refused = post(client, pets, {"model": "frams", "create": False})
    assert refused.status_code == 404
    problem = refused.json()
    assert problem["type"] == "urn:sats:problem:model-not-found"
    assert "'farms' or 'farm'" in problem["detail"]
    assert '"create": true' in problem["detail"]
    assert [(e["field"], e["code"]) for e in problem["errors"]] == [("spec.model", "unknown")]
    assert count(engine) == 3
    with read_session(engine) as session:
        assert session.scalar(select(func.count()).select_from(Task)) == 0
    assert "'farm" not in post(client, pets, {"model": "zzz", "create": False}).json()["detail"]


def test_create_makes_it(client, pets, models, engine):
    made = post(client, pets, {"model": "frams", "create": True})
    assert (made.status_code, made.json()["spec"]["create"]) == (202, True)
    assert count(engine) == 4
    assert post(client, pets, {"model": "frams", "create": True}).status_code == 202


@pytest.mark.parametrize("word", [1, "true", None])
def test_only_true_and_false_say_whether(client, pets, word):
    assert post(client, pets, {"create": word}).json()["errors"][0]["field"] == "spec.create"


def test_a_bound_key_hears_of_no_other_model(client, pets, models, engine, settings):
    with write_session(engine) as session:
        rules = {"models": ["farm-2", "farm"]}
        key = create_key(session, read_secret(settings), "bound", [Scope.SUBMIT], **rules)
    headers = {"Authorization": f"Bearer {key}"}
    refused = post(client, pets, {"model": "farm-2", "create": False}, **headers)
    assert refused.status_code == 404
    assert "'farm'" in refused.json()["detail"]
    assert "'farms'" not in refused.json()["detail"]


def test_the_same_request_is_answered_again_though_it_named_a_new_model(client, pets, models):
    spec = {"model": "new", "create": True}
    first = post(client, pets, spec, **{"Idempotency-Key": "k"})
    again = post(client, pets, spec, **{"Idempotency-Key": "k"})
    assert (again.json()["id"], again.headers["idempotency-replayed"]) == (
        first.json()["id"],
        "true",
    )
