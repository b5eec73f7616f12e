"""`POST /admin/models/{model}/versions`: what is queued, and what is refused at once."""

import json
from contextlib import closing
from http.client import HTTPConnection

import httpx
import pytest
from sqlalchemy import func, select

from app.db import Model, ModelClass, Task, read_session, write_session
from app.http.multipart import BEGINNING_BYTES
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key
from app.registry.service import ensure_model
from tests.app.tasks.posting import drawn
from tests.app.tasks.posting import post as post_task
from tests.fixtures.checkpoints import checkpoint_zip
from tests.fixtures.processes import serving
from tests.fixtures.versions import add_version

VERSIONS = "/admin/models/default/versions"
PETS = ("background", "cat", "dog")


def post(client, content, spec=None, evaluate=None, path=VERSIONS, **headers):
    files = {"checkpoint": ("pets.zip", content)}
    if evaluate is not None:
        files["evaluate"] = ("data.zip", evaluate)
    data = {} if spec is None else {"spec": spec if isinstance(spec, str) else json.dumps(spec)}
    return client.post(path, files=files, data=data, headers=headers)


def stored(settings):
    return {p.name for p in settings.blob_dir.rglob("*") if p.is_file()}


def tasks(engine):
    with read_session(engine) as session:
        return session.scalar(select(func.count()).select_from(Task))


def test_an_import_is_queued_as_a_task(client, engine, settings):
    answer = post(client, checkpoint_zip(PETS), {"name": "pets", "promote": False})
    assert answer.status_code == 202, answer.text
    task = answer.json()
    assert answer.headers["location"] == f"/tasks/{task['id']}" == task["links"]["self"]
    assert (task["kind"], task["name"], task["model"]) == ("import", "pets", "default")
    assert (task["state"], task["queue_place"]) == ("queued", 1)
    assert (task["method"], task["classes"], task["version"]) == (None, None, None)
    assert task["spec"] == {
        "name": "pets",
        "create": False,
        "model": "default",
        "background": None,
        "features": 4000,
        "promote": False,
        "source": "pets.zip",
        "allow_pickle": False,
    }
    assert client.get(task["links"]["self"]).json() == task
    assert task.pop("labels") is None
    assert client.get("/tasks").json()["items"] == [task]
    with read_session(engine) as session:
        row = session.get_one(Task, task["id"])
    assert stored(settings) == {row.dataset}
    assert (row.kind, row.evaluation) == ("import", None)


def test_labelled_pictures_may_come_along(client, engine, tmp_path, settings):
    pictures = drawn(tmp_path, "cat").read_bytes()
    answer = post(client, checkpoint_zip(PETS, folder="pets/"), evaluate=pictures)
    assert answer.status_code == 202, answer.text
    with read_session(engine) as session:
        row = session.get_one(Task, answer.json()["id"])
    assert stored(settings) == {row.dataset, row.evaluation}


def test_steps_and_imports_stand_in_one_list(client, tmp_path):
    imported = post(client, checkpoint_zip(PETS)).json()
    step = post_task(client, drawn(tmp_path, "cow")).json()
    assert [t["kind"] for t in client.get("/tasks").json()["items"]] == ["step", "import"]
    assert (imported["queue_place"], step["queue_place"]) == (1, 2)


def test_a_cancelled_import_leaves_nothing(client, tmp_path, settings):
    pictures = drawn(tmp_path, "cat").read_bytes()
    task = post(client, checkpoint_zip(PETS), evaluate=pictures).json()
    assert client.post(f"/tasks/{task['id']}:cancel").json()["state"] == "cancelled"
    assert stored(settings) == set()


def test_the_same_key_gives_the_same_task(client, engine, tmp_path):
    key = {"Idempotency-Key": "k"}
    pictures = drawn(tmp_path, "cat").read_bytes()
    first = post(client, checkpoint_zip(PETS), evaluate=pictures, **key)
    again = post(client, checkpoint_zip(PETS), evaluate=pictures, **key)
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    without = post(client, checkpoint_zip(PETS), **key)
    assert without.status_code == 422
    assert without.json()["type"] == "urn:sats:problem:idempotency-key-reused"
    assert tasks(engine) == 1


TOO_MANY = [f"class {number}" for number in range(300)]


@pytest.mark.parametrize(
    ("content", "spec", "field", "file", "said"),
    [
        (b"no zip", None, "checkpoint", None, "not a zip"),
        (checkpoint_zip(PETS)[:-30], None, "checkpoint", None, "not a zip"),
        (checkpoint_zip(PETS, without=["config.json"]), None, "checkpoint", None, "config.json"),
        (
            checkpoint_zip(PETS, without=["preprocessor_config.json"]),
            None,
            "checkpoint",
            None,
            "preprocessor_config.json is missing",
        ),
        (
            checkpoint_zip(PETS, without=["model.safetensors"]),
            None,
            "checkpoint",
            "model.safetensors",
            "no model.safetensors",
        ),
        (
            checkpoint_zip(PETS, weights="pytorch_model.bin"),
            None,
            "checkpoint",
            "pytorch_model.bin",
            "sats import SOURCE --allow-pickle",
        ),
        (checkpoint_zip(TOO_MANY), None, "checkpoint", None, "300 classes"),
        (checkpoint_zip(PETS, model_type="bert"), None, "checkpoint", None, "model_type"),
        (
            checkpoint_zip(PETS, architectures=["SegformerModel"]),
            None,
            "checkpoint",
            None,
            "encoder without a decode head",
        ),
        (checkpoint_zip(PETS), {"background": "wall"}, "spec.background", None, "wall"),
        (checkpoint_zip(PETS), {"background": "none"}, "checkpoint", None, "background"),
        (checkpoint_zip(PETS), {"promote": "perhaps"}, "spec.promote", None, "boolean"),
        (checkpoint_zip(PETS), {"allow_pickle": True}, "spec.allow_pickle", None, "no such field"),
        (checkpoint_zip(PETS), {"source": "elsewhere"}, "spec.source", None, "no such field"),
        (checkpoint_zip(PETS), "{", "spec", None, "JSON"),
    ],
)
def test_what_cannot_be_imported_is_refused(
    client, settings, engine, content, spec, field, file, said
):
    answer = post(client, content, spec)
    assert answer.status_code == 422, answer.text
    problem = answer.json()
    (error,) = problem["errors"]
    assert error["field"] == field
    assert error.get("file") == file
    assert said in error["message"], error
    assert stored(settings) == set()
    assert tasks(engine) == 0


def test_a_background_that_is_no_class_is_named(client):
    answer = post(client, checkpoint_zip(PETS), {"background": "wall"})
    assert answer.json()["type"] == "urn:sats:problem:invalid-checkpoint"
    assert answer.json()["errors"][0]["class"] == "wall"


@pytest.mark.parametrize(
    ("pictures", "said"), [(b"no zip", "not a zip"), (None, "none of the checkpoint's classes")]
)
def test_labelled_pictures_that_are_none_are_refused(client, tmp_path, settings, pictures, said):
    content = pictures or drawn(tmp_path, "cow").read_bytes()
    answer = post(client, checkpoint_zip(PETS), evaluate=content)
    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:sats:problem:invalid-dataset"
    assert answer.json()["errors"][0]["field"] == "evaluate"
    assert said in answer.json()["detail"]
    assert stored(settings) == set()


def test_a_typing_error_in_a_models_name_makes_nothing(client, engine, settings):
    with write_session(engine) as session:
        ensure_model(session, "farm")
    refused = post(client, checkpoint_zip(PETS), path="/admin/models/fram/versions")
    assert refused.status_code == 404
    problem = refused.json()
    assert problem["type"] == "urn:sats:problem:model-not-found"
    assert "did you mean 'farm'?" in problem["detail"]
    assert [(e["field"], e["code"]) for e in problem["errors"]] == [("model", "unknown")]
    with read_session(engine) as session:
        assert session.scalars(select(Model.name)).all() == ["farm"]
    assert (tasks(engine), stored(settings)) == (0, set())
    path = "/admin/models/fram/versions"
    made = post(client, checkpoint_zip(PETS), {"create": True}, path=path)
    assert (made.status_code, made.json()["spec"]["create"]) == (202, True)
    again = post(client, checkpoint_zip(PETS), {"create": "yes"}, path=path)
    assert again.json()["errors"][0]["field"] == "spec.create"


@pytest.mark.parametrize(
    ("name", "status", "field"), [("fram", 404, "model"), ("A%20farm", 422, "path.model")]
)
def test_what_the_path_says_is_refused_before_the_file_has_come(
    service, engine, name, status, field
):
    with write_session(engine) as session:
        ensure_model(session, "farm")
    begun = part('name="spec"', b"{}") + part('name="checkpoint"; filename="pets.zip"', b"")
    begun += bytes(BEGINNING_BYTES)
    with serving(service) as url, closing(HTTPConnection(httpx.URL(url).netloc.decode())) as there:
        there.putrequest("POST", f"/admin/models/{name}/versions")
        there.putheader("Content-Type", "multipart/form-data; boundary=part")
        there.putheader("Transfer-Encoding", "chunked")
        there.endheaders()
        there.send(b"%x\r\n%s\r\n" % (len(begun), begun))  # and the rest never comes
        answer = there.getresponse()
        said = json.loads(answer.read())
    assert (answer.status, [one["field"] for one in said["errors"]]) == (status, [field]), said
    assert tasks(engine) == 0


def part(named, content):
    said = f"Content-Disposition: form-data; {named}".encode()
    return b"--part\r\n%s\r\n\r\n%s\r\n" % (said, content)


def test_a_form_without_a_spec_in_front_is_read_first(client, engine, settings):
    with write_session(engine) as session:
        ensure_model(session, "farm")
    path, zipped = "/admin/models/fram/versions", ("pets.zip", checkpoint_zip(PETS))
    spec = (None, json.dumps({"create": True}))
    last = client.post(path, files=[("checkpoint", zipped), ("spec", spec)])
    assert last.status_code == 202, last.text
    path = "/admin/models/form/versions"
    for odd in (
        {"content": b"x", "headers": {"Content-Type": "multipart/form-data; boundary=part"}},
        {"content": b"x", "headers": {"Content-Type": "multipart/form-data"}},
        {"content": b"x"},
    ):
        assert client.post(path, **odd).status_code in (400, 415, 422)


def test_parts_that_are_missing_are_named(client):
    missing = client.post(VERSIONS, files={"evaluate": ("a", b"")})
    assert missing.json()["errors"] == [
        {"field": "checkpoint", "code": "missing", "message": "missing"}
    ]
    no_file = client.post(VERSIONS, files={"evaluate": ("a", b"")}, data={"checkpoint": "text"})
    assert "not a file" in no_file.json()["errors"][0]["message"]
    assert client.post(VERSIONS, json={}).status_code == 415
    assert post(client, checkpoint_zip(PETS), path="/admin/models/-/versions").status_code == 422


@pytest.mark.parametrize(("path", "main"), [(VERSIONS, "checkpoint"), ("/tasks", "dataset")])
def test_a_part_that_nobody_reads_is_named(client, engine, settings, path, main):
    parts = [(main, ("a.zip", b"x")), ("evaluation", ("b.zip", b"x"))]
    answer = client.post(path, files=parts)
    assert answer.status_code == 422
    message = "no part of this name is read"
    assert {"field": "evaluation", "code": "unknown", "message": message} in answer.json()["errors"]
    twice = client.post(path, files=[parts[0], parts[0]])
    assert {"field": main, "code": "repeated", "message": "given twice"} in twice.json()["errors"]
    assert tasks(engine) == 0
    assert stored(settings) == set()


def test_a_file_of_more_than_the_limit_is_413(client, settings):
    most = settings.max_upload_bytes
    answer = post(client, checkpoint_zip(PETS, content=b"x" * (most + 1)))
    assert answer.status_code == 413
    assert answer.json()["errors"][0]["field"] == "checkpoint"
    large = post(client, checkpoint_zip(PETS), evaluate=b"x" * (most + 1))
    assert large.status_code == 413
    assert large.json()["errors"][0]["field"] == "evaluate"
    assert stored(settings) == set()


def test_a_model_that_has_no_index_left_is_refused(client, engine):
    with write_session(engine) as session:
        model = ensure_model(session, "default")
        for index in range(1, 254):
            session.add(ModelClass(model_id=model.id, name=f"old {index}", index=index))
    assert post(client, checkpoint_zip(("background", "cat"))).status_code == 202
    answer = post(client, checkpoint_zip(PETS))
    assert answer.status_code == 422
    assert "254" in answer.json()["detail"]


def test_only_an_admin_imports(client, engine, settings):
    with write_session(engine) as session:
        secret = read_secret(settings)
        keys = {scope: create_key(session, secret, scope.value, [scope]) for scope in Scope}
    answers = {
        scope: post(client, checkpoint_zip(PETS), Authorization=f"Bearer {key}")
        for scope, key in keys.items()
    }
    assert {scope: answer.status_code for scope, answer in answers.items()} == {
        Scope.SEGMENT: 403,
        Scope.SUBMIT: 403,
        Scope.READ: 403,
        Scope.ADMIN: 202,
    }
    with read_session(engine) as session:
        assert session.scalar(select(Task.submitted_by)) == "admin"


def test_a_model_that_has_versions_may_import(client, engine, blobs):
    with write_session(engine) as session:
        add_version(session, blobs, ["cat"])
    assert post(client, checkpoint_zip(PETS)).status_code == 202
    with read_session(engine) as session:
        assert session.scalar(select(func.count()).select_from(Model)) == 1


def test_classes_that_turn_the_text_around_them_are_not_imported(client, engine):
    answer = post(client, checkpoint_zip(("background", "tac\u202e")))
    assert answer.status_code == 422, answer.text
    assert [fault["class"] for fault in answer.json()["errors"]] == ["tac?"]
    assert post(client, checkpoint_zip(PETS), {"name": "gnp\u202e"}).status_code == 422
    assert tasks(engine) == 0
