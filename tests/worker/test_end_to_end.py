"""Tasks posted over real HTTP, learned by the real core in a real worker."""

import io
import json
import os
import signal
import zipfile

import numpy as np
import psutil
import pytest
from PIL import Image

from app.db import TaskState
from tests.fixtures.drawings import voc_zip
from tests.worker.bench import eventually, is_gone

pytestmark = pytest.mark.slow

WORKER = "worker.celery_app"
SMALL = {
    "size": 32,
    "epochs": 2,
    "batch_size": 2,
    "pretrained": False,
    "gate": {"max_drop": 1, "min_iou": 0},
}


def pictures(tmp_path, classes, seed, broken=False) -> bytes:
    path = voc_zip(tmp_path / "a.zip", classes, pictures=8, size=48, seed=seed, splits={"val": 3})
    if broken:
        with zipfile.ZipFile(path) as whole:
            entries = {name: whole.read(name) for name in whole.namelist()}
        entries[f"JPEGImages/{seed:03d}_0005.jpg"] = b"\xff\xd8 no picture"
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in entries.items():
                archive.writestr(name, data)
    return path.read_bytes()


def post(http, data: bytes, method: str | None = "sats_plus", **spec) -> dict:
    """Post a step; `method` None names none."""
    how = {"method": method} if method else {}
    answer = http.post(
        "/tasks",
        files={"dataset": ("a.zip", io.BytesIO(data), "application/zip")},
        data={"spec": json.dumps({"name": "step", **SMALL, **how, **spec})},
    )
    assert answer.status_code == 202, answer.text
    return answer.json()


def wait(http, task: dict) -> dict:
    last: dict = {}

    def ended() -> bool:
        last.update(http.get(task["links"]["self"]).json())
        return last["state"] in ("succeeded", "failed", "cancelled")

    eventually(ended, 180, lambda: last, every=0.3)
    return last


def child_of(worker) -> int:
    """The process id of a worker's training process."""
    eventually(lambda: bool(psutil.Process(worker.process.pid).children()))
    return psutil.Process(worker.process.pid).children()[0].pid


def test_two_steps_over_http(bench, served, tmp_path):
    with bench.worker(WORKER):
        first = post(served, pictures(tmp_path, ["circle", "square"], 1))
        second = post(served, pictures(tmp_path, ["star"], 2))
        assert wait(served, first)["outcome"] == "live"
        done = wait(served, second)
        bench.assert_clean(first["id"], second["id"])
    assert (done["outcome"], done["version"], done["error"]) == ("live", 2, None)
    assert (done["state"], done["progress"]) == ("succeeded", None)
    assert any(
        "scratch" in warning for warning in served.get(f"/tasks/{first['id']}").json()["warnings"]
    )
    version = served.get(done["links"]["version"]).json()
    assert version["live"]
    assert version["lineage"] == [1, 2]
    assert [c["name"] for c in version["classes"]] == ["background", "circle", "square", "star"]
    assert {"model.onnx", "model.safetensors", "config.json", "scores.json"} <= {
        file["name"] for file in version["files"]
    }
    assert set(version["scores"]["introduced"]) == {"circle", "square", "star"}
    scores = served.get(f"{done['links']['version']}/files/held_out_scores.json").json()["sets"]
    sets = [(one["version"], one["classes"], len(one["iou"])) for one in scores]
    kept = {one.classes[0]: one.pictures for one in bench.held_out()}
    assert sets == [
        (None, ["star"], kept["star"]),
        (1, ["circle", "square"], kept["circle"]),
    ]
    with served.stream("GET", done["links"]["events"]) as events:
        said = [line for line in events.iter_lines() if line.startswith("event:")]
    assert said.count("event: task.epoch") == 2
    assert [kept.classes for kept in bench.held_out()] == [["circle", "square"], ["star"]]


@pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
def test_a_task_that_names_no_method_is_solved_in_one_pass(bench, served, tmp_path):
    with bench.worker(WORKER):
        base = post(served, pictures(tmp_path, ["circle", "square"], 1), method=None)
        step = post(served, pictures(tmp_path, ["star"], 2), method=None)
        assert wait(served, base)["outcome"] == "live"
        done = wait(served, step)
    assert (done["outcome"], done["method"], done["error"]) == ("live", "frozen", None)
    trained, solved = (served.get(f"/admin/models/default/versions/{n}").json() for n in (1, 2))
    epochs = [version["effective_settings"]["epochs"] for version in (trained, solved)]
    assert epochs == [2, None]
    assert [len(bench.events(task["id"], "epoch")) for task in (base, step)] == [2, 1]


def roboflow(tmp_path) -> bytes:
    """What Roboflow exports as COCO: category 0 is the project's, and nothing is labelled so."""
    categories = [
        {"id": 0, "name": "things", "supercategory": "none"},
        {"id": 1, "name": "block", "supercategory": "things"},
    ]
    path = tmp_path / "roboflow.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for split, numbers in {"train": range(6), "valid": range(6, 8)}.items():
            images, shapes = [], []
            for number in numbers:
                name = f"{number}_jpg.rf.0a1b.jpg"
                pixels = np.full((48, 48, 3), 90, np.uint8)
                pixels[8 + number : 30, 10:40] = (250, 40, 10)
                picture = io.BytesIO()
                Image.fromarray(pixels).save(picture, "JPEG")
                archive.writestr(f"{split}/{name}", picture.getvalue())
                images.append({"id": number, "file_name": name, "height": 48, "width": 48})
                ring = [10, 8 + number, 40, 8 + number, 40, 30, 10, 30]
                shape = {"id": number, "image_id": number, "category_id": 1, "iscrowd": 0}
                shapes.append({**shape, "segmentation": [ring]})
            document = {"images": images, "annotations": shapes, "categories": categories}
            archive.writestr(f"{split}/_annotations.coco.json", json.dumps(document))
    return path.read_bytes()


@pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
def test_what_roboflow_exports_is_learned(bench, served, tmp_path):
    with bench.worker(WORKER):
        task = post(served, roboflow(tmp_path), method=None)
        named = post(
            served, roboflow(tmp_path), method=None, classes=["things"], model="other", create=True
        )
        done, refused = wait(served, task), wait(served, named)
    assert (done["outcome"], done["error"]) == ("live", None)
    assert "no training picture shows 'things': it is not learned" in done["warnings"]
    version = served.get(done["links"]["version"]).json()
    assert [c["name"] for c in version["classes"]] == ["background", "block"]
    assert refused["state"] == "failed"
    assert [e["class"] for e in refused["error"]["errors"]] == ["things"]


@pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
def test_a_preview_is_live_before_its_task_and_scored_on_the_same_pictures(bench, served, tmp_path):
    with bench.worker(WORKER):
        base = post(served, pictures(tmp_path, ["circle", "square"], 1), memory=3)
        assert wait(served, base)["outcome"] == "live"
        # No split of its own: which pictures are held out is drawn.
        data = voc_zip(tmp_path / "b.zip", ["star", "cross"], pictures=10, size=48, seed=2)
        task = post(served, data.read_bytes(), memory=3, preview=True, held_out={"share": 0.4})
        preview = served.get(f"/tasks/{task['preview']}").json()
        quick, full = wait(served, preview), wait(served, task)
        bench.assert_clean(task["id"], preview["id"])
    assert (quick["outcome"], quick["version"], quick["method"]) == ("live", 2, "frozen")
    assert (full["outcome"], full["version"]) == ("live", 3)
    assert quick["finished_at"] <= full["started_at"]
    first, second = (served.get(done["links"]["version"]).json() for done in (quick, full))
    methods = [version["effective_settings"]["method"] for version in (first, second)]
    assert methods == ["frozen", "sats_plus"]
    assert (first["lineage"], second["lineage"]) == ([1, 2], [1, 3])
    assert [c["index"] for c in first["classes"]] == [c["index"] for c in second["classes"]]
    assert first["scores"]["pictures"] == second["scores"]["pictures"]
    _base, of_preview, of_task = bench.held_out()
    assert (of_preview.blob, of_preview.pictures) == (of_task.blob, 4)


@pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
def test_a_step_whose_child_and_worker_are_killed_resumes(bench, served, tmp_path):
    task = post(served, pictures(tmp_path, ["circle"], 1), epochs=6)
    with bench.worker(WORKER) as first:
        eventually(lambda: len(bench.events(task["id"], "epoch")) >= 1)
        os.kill(child_of(first), signal.SIGKILL)
        eventually(lambda: bench.states(task["id"]).count("queued") == 2)
        eventually(lambda: len(bench.events(task["id"], "epoch")) >= 3)
        child = child_of(first)
        first.kill()
        eventually(lambda: is_gone(child), 10)
    assert bench.state(task["id"]) == TaskState.TRAINING, "nobody holds it, nobody knows yet"
    with bench.worker(WORKER):
        done = wait(served, task)
        bench.assert_clean(task["id"])
    assert (done["outcome"], done["version"], done["tries"]) == ("live", 1, 0)
    epochs = [event.data["epoch"] for event in bench.events(task["id"], "epoch")]
    assert epochs == sorted(epochs), "no finished epoch was trained a second time"
    assert set(epochs) == set(range(1, 7))
    assert len(epochs) <= 6 + 2, "at most the epoch that was just ending comes twice"
    assert len(bench.versions()) == 1


@pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
def test_a_broken_picture_is_named_and_sigterm_stops_the_real_child(bench, served, tmp_path):
    broken = post(served, pictures(tmp_path, ["circle"], 1, broken=True))
    with bench.worker(WORKER) as worker:
        failed = wait(served, broken)
        assert failed["state"] == "failed"
        assert failed["tries"] == 1
        assert [e["file"] for e in failed["error"]["errors"]] == ["JPEGImages/001_0005.jpg"]
        bench.assert_clean(broken["id"])
        long = post(served, pictures(tmp_path, ["circle"], 2), epochs=1000)
        eventually(lambda: len(bench.events(long["id"], "epoch")) >= 1)
        child = child_of(worker)
        assert worker.terminate() == 0
        assert is_gone(child)
    task = bench.task(long["id"])
    assert (task.state, task.tries) == ("queued", 0)
    assert bench.settings.work_dir.joinpath(task.id, "checkpoints").is_dir()
    served.post(f"/tasks/{task.id}:cancel").raise_for_status()
    with bench.worker(WORKER):
        bench.assert_clean(task.id)
