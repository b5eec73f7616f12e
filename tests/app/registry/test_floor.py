"""The floor under a task's gate: who may go below it, and where it is set."""

import pytest

from app.db import Model, write_session
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key
from app.registry.floor import GateFloor, GateWish, ModelGate, floor_of, judge_import
from app.registry.service import ensure_model
from tests.app.tasks.posting import drawn, post

GATE = "/admin/models/default/gate"
FLOOR = GateFloor(max_drop=0.05, min_iou=0.3, approval="none")


@pytest.fixture
def default(engine):
    """The model `default`, nothing learned."""
    with write_session(engine) as session:
        ensure_model(session, "default")


@pytest.mark.parametrize("by_admin", [True, False])
def test_a_task_that_says_nothing_is_judged_by_the_floor(by_admin):
    for floor in (FLOOR, GateFloor(max_drop=0.5, min_iou=0.1, approval="required")):
        settings = floor.settings(GateWish(), by_admin=by_admin)
        assert settings.model_dump() == {**floor.model_dump(), "promote": True}
        assert floor.laxer(GateWish()) == {}


def test_the_floor_itself_is_allowed_and_stricter_limits_are_kept():
    for wish in (
        GateWish(max_drop=0.05, min_iou=0.3, hold_on_unmeasured=False),
        GateWish(max_drop=0, min_iou=1, hold_on_unmeasured=True, promote=False),
    ):
        assert FLOOR.laxer(wish) == {}
        found = FLOOR.settings(wish, by_admin=False).model_dump(include=set(wish.model_dump()))
        assert found == wish.model_dump()


def test_what_is_laxer_is_the_admins_alone():
    wish = GateWish(max_drop=0.06, min_iou=0.29)
    assert FLOOR.laxer(wish) == {"max_drop": 0.05, "min_iou": 0.3}
    clamped = FLOOR.settings(wish, by_admin=False)
    assert (clamped.max_drop, clamped.min_iou) == (0.05, 0.3)
    asked = FLOOR.settings(wish, by_admin=True)
    assert (asked.max_drop, asked.min_iou) == (0.06, 0.29)


def test_who_wants_what_nobody_measured_to_pass_is_laxer():
    lets, holds, says_nothing = (GateWish(hold_on_unmeasured=one) for one in (False, True, None))
    strict = FLOOR.model_copy(update={"hold_on_unmeasured": True})
    assert strict.laxer(lets) == {"hold_on_unmeasured": True}
    assert strict.waived(lets) == [
        "hold_on_unmeasured false is laxer than the model's floor, true",
    ]
    assert strict.settings(lets, by_admin=False).hold_on_unmeasured
    assert not strict.settings(lets, by_admin=True).hold_on_unmeasured
    assert strict.settings(says_nothing, by_admin=True).hold_on_unmeasured
    assert FLOOR.laxer(lets) == FLOOR.laxer(holds) == {}
    assert FLOOR.settings(holds, by_admin=False).hold_on_unmeasured
    assert not FLOOR.settings(says_nothing, by_admin=False).hold_on_unmeasured


def test_no_task_gets_round_the_approval():
    floor = FLOOR.model_copy(update={"approval": "required"})
    assert floor.settings(GateWish(max_drop=1), by_admin=True).approval == "required"
    verdict = judge_import(floor)
    assert verdict is not None
    assert (verdict.passed, verdict.reasons) == (False, ("awaits approval",))
    assert judge_import(FLOOR) is None


def test_a_misspelt_model_is_not_made(client):
    refused = client.put("/admin/models/defautl/gate", json={"min_iou": 0.5})
    assert (refused.status_code, refused.json()["type"]) == (404, "urn:sats:problem:not-found")
    assert "defautl" in refused.json()["detail"]
    assert client.get("/admin/models").json()["items"] == []


def test_a_model_has_the_limits_of_the_service_until_it_gets_its_own(client, default):
    service = {
        **{"max_drop": 0.05, "min_iou": 0.3, "approval": "none"},
        **{"hold_on_warnings": False, "hold_on_unmeasured": False},
    }
    nothing = dict.fromkeys(service)
    made = client.put(GATE, json={})
    assert made.status_code == 200
    assert made.json().items() >= {**service, "own": nothing}.items()
    own = {"min_iou": 0.5, "approval": "required", "hold_on_unmeasured": True}
    changed = client.put(GATE, json=own).json()
    assert changed.items() >= {**service, **own, "own": {**nothing, **own}}.items()
    assert client.get(GATE).json() == changed
    assert client.put(GATE, json={"max_drop": 0}).json()["own"] == {**nothing, "max_drop": 0}
    (model,) = client.get("/admin/models").json()["items"]
    assert (model["name"], model["versions"]) == ("default", 0)


@pytest.mark.parametrize(
    "wrong", [{"max_drop": 2}, {"min_iou": -1}, {"approval": "maybe"}, {"min_ious": 0.3}]
)
def test_a_wrong_limit_is_named(client, default, wrong):
    before = client.get(GATE).json()
    answer = client.put(GATE, json=wrong)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == next(iter(wrong))
    assert client.get(GATE).json() == before


def test_the_service_s_own_limits_are_settings(settings):
    changed = settings.model_copy(update={"gate_max_drop": 0.2, "gate_approval": "required"})
    assert floor_of(None, changed) == GateFloor(max_drop=0.2, min_iou=0.3, approval="required")
    changed = settings.model_copy(update={"gate_hold_on_warnings": True})
    assert floor_of(None, changed).hold_on_warnings
    own = Model(name="own", gate={"hold_on_warnings": False})
    assert not floor_of(own, changed).hold_on_warnings
    changed = settings.model_copy(update={"gate_hold_on_unmeasured": True})
    assert floor_of(None, changed).hold_on_unmeasured
    assert not floor_of(
        Model(name="own", gate={"hold_on_unmeasured": False}), changed
    ).hold_on_unmeasured


@pytest.fixture
def bearer(engine, settings):
    """Headers of a caller with each scope."""
    with write_session(engine) as session:
        secret = read_secret(settings)
        keys = {scope: create_key(session, secret, scope, [scope]) for scope in Scope}
    return {scope: {"Authorization": f"Bearer {key}"} for scope, key in keys.items()}


def test_a_key_that_may_submit_may_not_lower_the_gate(client, default, tmp_path, bearer):
    pets = drawn(tmp_path, "cat", "dog")
    laxer = {"gate": {"max_drop": 1, "min_iou": 0}}
    refused = post(client, pets, laxer, **bearer[Scope.SUBMIT])
    assert refused.status_code == 422, refused.text
    errors = {error["field"]: error["message"] for error in refused.json()["errors"]}
    assert set(errors) == {"spec.gate.max_drop", "spec.gate.min_iou"}
    assert "1 is laxer than the floor of model 'default', 0.05" in errors["spec.gate.max_drop"]
    assert client.get("/tasks", headers=bearer[Scope.SUBMIT]).json()["items"] == []
    own = ModelGate(max_drop=1, min_iou=0).model_dump()
    assert client.put(GATE, json=own, headers=bearer[Scope.ADMIN]).status_code == 200
    assert post(client, pets, laxer, **bearer[Scope.SUBMIT]).status_code == 202


def test_a_stricter_gate_is_anybody_s_and_a_laxer_one_an_admin_s(client, tmp_path, bearer):
    pets = drawn(tmp_path, "cat", "dog")
    stricter = {"gate": {"max_drop": 0, "promote": False}}
    assert post(client, pets, stricter, **bearer[Scope.SUBMIT]).status_code == 202
    laxer = {"model": "other", "gate": {"max_drop": 1}}
    assert post(client, pets, laxer, **bearer[Scope.ADMIN]).status_code == 202


def test_the_posted_task_knows_whether_an_admin_posted_it(client, tmp_path, engine, bearer):
    from app.db import Task, read_session

    pets = drawn(tmp_path, "cat", "dog")
    ids = {
        scope: post(client, pets, {"model": scope}, **bearer[scope]).json()["id"]
        for scope in (Scope.SUBMIT, Scope.ADMIN)
    }
    with read_session(engine) as session:
        assert not session.get_one(Task, ids[Scope.SUBMIT]).by_admin
        assert session.get_one(Task, ids[Scope.ADMIN]).by_admin


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_drop": True},
        {"min_iou": "0.1"},
        {"max_drop": 2},
        {"hold_on_warnings": "yes"},
        {"hold_on_unmeasured": 1},
    ],
)
def test_a_limit_is_a_number_and_a_switch_a_switch(client, default, wrong):
    refused = client.put(GATE, json=wrong)
    assert refused.status_code == 422
    assert [error["field"] for error in refused.json()["errors"]] == [*wrong]
