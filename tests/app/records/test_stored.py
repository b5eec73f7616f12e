"""Rows that another version of the service wrote are shown, and run where they can be."""

import pytest
from sqlalchemy import update

from app.db import Task, TaskEvent, TaskState, Version, write_session
from app.errors import InvalidProblem
from app.imports.schemas import ImportSpec
from app.records.stored import read_spec, shown, with_defaults
from app.tasks.event_schemas import ProgressJson
from app.tasks.schemas import TaskSpec
from tests.app.tasks.posting import drawn, post
from tests.fixtures.versions import add_version

STRANGE = {
    "an unknown key": {"warmth": 3},
    "an unknown key inside": {"gate": {"max_drop": 0.05, "min_iou": 0.3, "mood": 1}},
    "a value that is not offered any more": {"method": "joint"},
    "a value out of range": {"size": 31, "epochs": 0},
    "a setting that its method does not know": {"method_settings": {"charm": 1.0}},
}


@pytest.fixture
def rewrite(engine):
    """Change what a task was posted with, as another version would have written it."""

    def change(task_id, **spec):
        with write_session(engine) as session:
            task = session.get_one(Task, task_id)
            task.spec = task.spec | spec

    return change


@pytest.fixture
def pets(tmp_path):
    return drawn(tmp_path, "cat", "dog")


@pytest.fixture
def task_id(client, pets):
    return post(client, pets, {"name": "pets"}).json()["id"]


@pytest.mark.parametrize("spec", STRANGE.values(), ids=STRANGE)
def test_a_task_is_shown_as_it_was_posted(client, rewrite, task_id, spec):
    rewrite(task_id, **spec)
    one = client.get(f"/tasks/{task_id}")
    assert one.status_code == 200, one.text
    assert one.json()["spec"].items() >= spec.items()
    assert one.json()["name"] == "pets"
    listed = {name: value for name, value in one.json().items() if name != "labels"}
    assert client.get("/tasks").json()["items"] == [listed]
    assert client.post(f"/tasks/{task_id}:cancel").status_code == 202


def test_what_a_spec_did_not_say_then_is_shown_with_its_default(client, engine, task_id):
    with write_session(engine) as session:
        task = session.get_one(Task, task_id)
        task.spec = {"name": "old", "model": "default", "epochs": 3}
    spec = client.get(f"/tasks/{task_id}").json()["spec"]
    assert (spec["name"], spec["epochs"], spec["parent"]) == ("old", 3, None)
    assert spec["gate"] == {
        "max_drop": None,
        "min_iou": None,
        "promote": True,
        "hold_on_unmeasured": None,
    }
    assert spec.keys() == TaskSpec.model_fields.keys()


def test_progress_and_errors_that_cannot_be_read_are_left_out(client, engine, task_id):
    with write_session(engine) as session:
        values = {"progress": {"phase": "dreaming"}, "error": {"oops": 1}}
        values["state"] = TaskState.FAILED
        session.execute(update(Task).where(Task.id == task_id).values(**values))
    task = client.get(f"/tasks/{task_id}").json()
    assert (task["progress"], task["error"], task["state"]) == (None, None, "failed")
    assert shown(ProgressJson, None) is None


def test_a_version_with_unknown_keys_is_shown(client, engine, blobs):
    with write_session(engine) as session:
        add_version(session, blobs, ["cat"])
    with write_session(engine) as session:
        version = session.get_one(Version, 1)
        gate = version.gate or {}
        strange = {"max_drop": 7, "min_iou": 0.3, "promote": True, "mood": 1}
        version.gate = gate | {"settings": strange, "mood": 1}
        version.scores = version.scores | {"mood": 1}
    answer = client.get("/admin/models/default/versions/1")
    assert answer.status_code == 200, answer.text
    assert answer.json()["gate"]["settings"] == strange
    assert client.get("/admin/models/default/versions").status_code == 200


def test_to_run_it_unknown_keys_are_dropped_and_wrong_values_are_named():
    spec = {"name": "a", "warmth": 3, "gate": {"max_drop": 0.1, "mood": 1}}
    assert read_spec(TaskSpec, spec) == TaskSpec(name="a", gate={"max_drop": 0.1})
    assert read_spec(ImportSpec, {"warmth": 3}) == ImportSpec()
    assert with_defaults(ImportSpec, {"promote": False})["promote"] is False


def test_what_is_gone_is_said_in_the_words_that_refuse_a_post(client, pets):
    spec = {"name": "a", "method": "finetune", "method_settings": {"charm": 1.0}}
    refused = post(client, pets, spec).json()["errors"]
    with pytest.raises(InvalidProblem) as raised:
        read_spec(TaskSpec, spec)
    assert raised.value.body()["errors"] == refused
    assert "Value error" not in str(refused)


def test_a_record_is_shown_in_the_order_of_its_fields():
    spec = TaskSpec(name="a", epochs=3).model_dump(mode="json")
    assert list(with_defaults(TaskSpec, spec)) == list(spec)
    shown_keys = list(with_defaults(TaskSpec, {"gone": 1, "epochs": 3, "name": "a"}))
    assert shown_keys == [*spec, "gone"]


def test_a_class_goes_out_under_one_name_whatever_it_was_stored_as(client, engine, blobs, task_id):
    figures = {"pictures": 3, "share": 0.2, "share_where_shown": 0.5, "outline_fit": None}
    figures |= {"called": None, "called_share": None, "told_apart": None}
    report = {"pictures": 4, "duplicates": 0, "held_out_duplicates": 0, "warnings": []}
    stored = [{"class_name": "cat", **figures}, {"class": "dog", **figures}]
    with write_session(engine) as session:
        session.add(TaskEvent(task_id=task_id, kind="labels", data=report | {"classes": stored}))
        add_version(session, blobs, ["cat", "dog"], model="farm")
    wanted = [{"class": name, **figures} for name in ("cat", "dog")]
    assert client.get(f"/tasks/{task_id}").json()["labels"]["classes"] == wanted
    events = client.get(f"/tasks/{task_id}/events", headers={"Accept": "application/json"})
    (told,) = [one for one in events.json()["items"] if one["type"] == "task.labels"]
    assert told["data"] == report | {"classes": wanted}
    version = client.get("/admin/models/farm/versions/1").json()
    assert version["version"] == version["number"] == 1
    assert {one["class"] for one in version["gate"]["figures"]} == {"cat", "dog"}
    assert client.get("/admin/models/farm/versions").json()["items"] == [version]
