"""What an admin deletes is gone, what others need stays, and the history has no gap."""

import io

import pytest
from sqlalchemy import func, select

from app.db import HeldOutSet, Memory, Task, TaskEvent, TaskState, read_session, write_session
from app.doctor.examination import examine
from app.doctor.finding import Installation
from app.registry.service import find_model, live_version
from tests.app.storage.rows import add_task
from tests.fixtures.versions import FILES, add_version, content
from tests.worker.bench import drawn

VERSIONS = "/admin/models/default/versions"
SIZE = sum(len(content(name, 3)) for name in FILES)


@pytest.fixture
def line(engine, blobs):
    """Two live versions and a held one."""
    with write_session(engine) as session:
        add_version(session, blobs, ["cat", "dog"])
        add_version(session, blobs, ["sheep"])
        add_version(session, blobs, ["cow"], live=False)


def keys(version):
    return [file["sha256"] for file in version["files"]]


def test_a_version_goes_and_its_record_stays(client, line, blobs):
    before = client.get(f"{VERSIONS}/3").json()
    assert before["deleted_at"] is None
    answer = client.delete(f"{VERSIONS}/3")
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "deleted": ["version 3's 3 files"],
        "kept": ["its record, which says when it was deleted"],
        "freed_bytes": SIZE,
    }
    left = {entry.name for entry in blobs.entries()}
    assert not left & set(keys(before))
    shown = client.get(f"{VERSIONS}/3").json()
    assert shown["deleted_at"]
    assert shown | {"files": before["files"], "deleted_at": None, "deleted_by": None} == before
    assert [version["number"] for version in client.get(VERSIONS).json()["items"]] == [3, 2, 1]
    assert client.get("/admin/models").json()["items"][0]["versions"] == 2
    again = client.delete(f"{VERSIONS}/3")
    assert again.json() == {"deleted": [], "kept": [], "freed_bytes": 0}


def test_a_deleted_version_is_used_no_more(client, line):
    client.delete(f"{VERSIONS}/3")
    for refused in (
        client.get(f"{VERSIONS}/3/files/model.onnx"),
        client.post(f"{VERSIONS}/3:promote"),
        client.get("/classes", params={"version": 3}),
    ):
        assert refused.status_code == 404
        assert "version 3 was deleted" in refused.json()["detail"]


def test_what_was_made_of_its_graph_goes_too(client, line, settings):
    graphs = [client.get(f"{VERSIONS}/{number}").json()["files"][-1]["sha256"] for number in (2, 3)]
    settings.ready_graphs_dir.mkdir(parents=True)
    ready = [settings.ready_graphs_dir / f"{key}-maker-form-own.onnx" for key in graphs]
    for path in ready:
        path.touch()
    client.delete(f"{VERSIONS}/3")
    assert [path.exists() for path in ready] == [True, False]


def test_its_number_is_never_given_again(client, line, engine, blobs):
    client.delete(f"{VERSIONS}/3")
    with write_session(engine) as session:
        assert add_version(session, blobs, ["owl"]).number == 4


def test_what_is_needed_is_refused_with_every_reason(client, line, engine, blobs):
    with write_session(engine) as session:
        waiting = add_task(session, "1" * 64, TaskState.QUEUED)
        waiting.spec = {"name": "a", "parent": 3}
        live = live_version(session, find_model(session, "default").id)
        running = add_task(session, "2" * 64, TaskState.TRAINING)
        running.parent_id = live.id
    assert client.delete(f"{VERSIONS}/9").status_code == 404
    for number, reasons in (
        (1, ["version 2 was learned from it"]),
        (2, ["it is live", "version 3 was learned from it", f"task {running.id}, which has not"]),
        (3, [f"task {waiting.id}, which has not ended, starts from it"]),
    ):
        refused = client.delete(f"{VERSIONS}/{number}")
        assert refused.status_code == 409
        assert all(reason in refused.json()["detail"] for reason in reasons), refused.text
        assert client.get(f"{VERSIONS}/{number}/files/model.onnx").status_code == 200


def test_a_parent_goes_once_its_children_are_gone(client, line):
    client.post(f"{VERSIONS}/1:promote")
    assert client.delete(f"{VERSIONS}/2").status_code == 409
    client.delete(f"{VERSIONS}/3")
    assert client.delete(f"{VERSIONS}/2").status_code == 200
    assert client.get(f"{VERSIONS}/3").json()["lineage"] == [1, 2, 3]


def test_live_is_not_rolled_back_to_a_deleted_version(client, line):
    client.post(f"{VERSIONS}/3:promote")
    client.post(f"{VERSIONS}/1:promote")
    assert client.delete(f"{VERSIONS}/3").status_code == 200
    refused = client.post(f"{VERSIONS}/1:rollback")
    assert refused.status_code == 409
    assert "version 3, live before it, was deleted" in refused.json()["detail"]


def test_bytes_that_somebody_else_needs_stay(client, line, engine, blobs):
    shared = client.get(f"{VERSIONS}/3").json()["files"][0]
    with write_session(engine) as session:
        add_task(session, shared["sha256"], TaskState.QUEUED)
    answer = client.delete(f"{VERSIONS}/3")
    assert answer.json()["freed_bytes"] == SIZE - shared["bytes"]
    assert blobs.path(shared["sha256"]).is_file()


def keep(engine, blobs, number):
    """Let a version keep held-out pictures and replay pictures."""
    pictures, replay = blobs.put(io.BytesIO(b"held out")), blobs.put(io.BytesIO(b"replay"))
    with write_session(engine) as session:
        rows = {"version_id": number, "pictures": 2}
        session.add(HeldOutSet(**rows, blob=pictures.key, classes=["cow"]))
        kept = {"blob": replay.key, "bytes": replay.size, "place": "blob store", "classes": {}}
        session.add(Memory(**rows, **kept))
    return pictures, replay


def test_held_out_pictures_go_and_their_record_stays(client, line, engine, blobs):
    pictures, replay = keep(engine, blobs, 2)
    shown = client.get(f"{VERSIONS}/2").json()["held_out"]
    assert shown == {
        "pictures": 2,
        "classes": ["cow"],
        "sha256": pictures.key,
        "deleted_at": None,
        "deleted_by": None,
    }
    answer = client.delete(f"{VERSIONS}/2/held-out")
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "deleted": ["2 held-out pictures"],
        "kept": ["the record of them"],
        "freed_bytes": pictures.size,
    }
    assert client.get(f"{VERSIONS}/2").json()["held_out"]["deleted_at"]
    assert pictures.key not in {entry.name for entry in blobs.entries()}
    assert blobs.path(replay.key).is_file()
    assert client.delete(f"{VERSIONS}/2/held-out").json()["freed_bytes"] == 0
    refused = client.delete(f"{VERSIONS}/1/held-out")
    assert refused.status_code == 404
    assert "keeps no held-out pictures" in refused.json()["detail"]


def test_a_version_takes_its_pictures_along(client, line, engine, blobs):
    kept = keep(engine, blobs, 3)
    answer = client.delete(f"{VERSIONS}/3").json()
    assert answer["deleted"] == [
        "version 3's 3 files",
        "its held-out pictures",
        "its replay pictures",
    ]
    assert answer["freed_bytes"] == SIZE + sum(blob.size for blob in kept)
    shown = client.get(f"{VERSIONS}/3").json()
    assert shown["held_out"]["deleted_at"]
    assert shown["memory"]["deleted_at"] == shown["deleted_at"]


def test_a_version_whose_memory_cannot_be_reached_stays(client, line, engine, blobs):
    keep(engine, blobs, 3)
    with write_session(engine) as session:
        session.scalars(select(Memory)).one().place = "memory folder"
    refused = client.delete(f"{VERSIONS}/3")
    assert refused.status_code == 409
    assert "SATS_MEMORY_DIR" in refused.json()["detail"]


def test_a_step_is_not_scored_on_pictures_that_were_deleted(client, bench):
    assert bench.run(["cat"]).state == TaskState.LIVE
    client.delete(f"{VERSIONS}/1/held-out")
    assert bench.run(["dog"]).state == TaskState.LIVE
    assert bench.control.starts()[-1].job.earlier == ()


def test_a_running_step_keeps_held_out_pictures_that_are_deleted(client, bench):
    bench.run(["cat"])
    bench.control.plan(epochs=1, crash_epoch=0, crash_starts=9)
    task_id = bench.post(["dog"])
    bench.supervisor().run(task_id)
    (earlier,) = bench.control.starts()[-1].job.earlier
    assert client.delete(f"{VERSIONS}/1/held-out").json()["freed_bytes"] > 0
    assert earlier.path.is_file()


def test_a_failed_task_is_not_tried_again_from_a_deleted_version(client, bench):
    bench.run(["cat"])
    bench.control.plan(epochs=1, default_iou=0.0)
    assert bench.run(["dog"]).state == TaskState.HELD
    bench.control.plan(fail="not this time")
    task = bench.run(["cow"], parent=2)
    assert task.state == TaskState.FAILED
    assert client.delete(f"{VERSIONS}/2").status_code == 200
    refused = client.post(f"/tasks/{task.id}:retry")
    assert refused.status_code == 409
    assert "version 2, which the task started from, was deleted" in refused.json()["detail"]


def test_a_task_that_came_to_nothing_goes_altogether(client, bench):
    bench.run(["cat"])
    bench.control.plan(fail="not this time")
    task = bench.run(["dog"])
    folder = bench.settings.work_dir / task.id
    assert folder.is_dir()
    answer = client.delete(f"/tasks/{task.id}")
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert said["deleted"][0].endswith("events and the log")
    assert said["deleted"][1:] == ["what was posted with it", "the task"]
    assert said["kept"] == []
    assert said["freed_bytes"] > len(drawn(("dog",), 0))
    assert not bench.has_blob(task.dataset)
    assert not folder.exists()
    assert client.get(f"/tasks/{task.id}").status_code == 404
    assert client.delete(f"/tasks/{task.id}").status_code == 404
    assert task.id not in client.get("/tasks").text
    installation = Installation(bench.engine, {"blob store": bench.blobs}, bench.settings)
    assert examine(installation) == []


def test_the_task_of_a_version_stays_as_its_record(client, bench):
    task = bench.run(["cat"])
    said = client.delete(f"/tasks/{task.id}").json()
    assert [what.split(" ", 1)[1] for what in said["deleted"]] == ["events and the log"]
    assert said["kept"] == ["the task's record: it made version 1"]
    assert client.get(f"/tasks/{task.id}").json()["version"] == 1
    with read_session(bench.engine) as session:
        told = select(func.count()).where(TaskEvent.task_id == task.id)
        assert session.scalar(told) == 0
    assert client.delete(f"/tasks/{task.id}").json()["deleted"] == []


def test_a_task_that_has_not_ended_is_refused(client, bench):
    task_id = bench.post(["cat"])
    refused = client.delete(f"/tasks/{task_id}")
    assert refused.status_code == 409
    assert "it is queued; cancel it first" in refused.json()["detail"]


def test_previews(client, bench):
    """A task waits for its preview's end; what is left of the pair forgets the other."""
    bench.run(["cat"])
    task_id = bench.post(["dog"], method="sats_plus", preview=True)
    preview = bench.preview(task_id)
    with write_session(bench.engine) as session:
        session.get_one(Task, task_id).state = TaskState.CANCELLED
    refused = client.delete(f"/tasks/{task_id}")
    assert refused.status_code == 409
    assert preview.id in refused.json()["detail"]
    bench.supervisor().run(preview.id)
    assert client.delete(f"/tasks/{task_id}").json()["deleted"][-1] == "the task"
    assert client.get(f"/tasks/{preview.id}").json()["preview_of"] is None


def test_only_an_admin_deletes(client, line, bench, settings):
    from app.keys.secret import read_secret
    from app.keys.service import Scope, create_key

    with write_session(bench.engine) as session:
        key = create_key(session, read_secret(settings), "eva", [Scope.SUBMIT, Scope.SEGMENT])
    headers = {"Authorization": f"Bearer {key}"}
    with read_session(bench.engine) as session:
        task_id = session.scalars(select(Task.id)).first()
    for path in (f"{VERSIONS}/3", f"{VERSIONS}/3/held-out", f"/tasks/{task_id}"):
        assert client.delete(path, headers=headers).status_code == 403
