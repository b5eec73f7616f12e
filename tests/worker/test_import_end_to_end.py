"""A checkpoint of the real transformers: in over HTTP, a step on top of it, and out again."""

import io
import json
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from app.db import RUNNING_STATES
from tests.fixtures.drawings import draw, encoded, voc_zip
from tests.fixtures.segformer import random_segformer, reloaded
from tests.worker.bench import eventually, is_gone
from tests.worker.test_end_to_end import WORKER, child_of, pictures, post, wait

pytestmark = pytest.mark.slow

MIB = 1024 * 1024
VERSIONS = "/admin/models/default/versions"


@pytest.fixture
def settings(settings):
    """Room for the weights of a SegFormer-B0."""
    return settings.model_copy(
        update={"max_upload_bytes": 64 * MIB, "max_unpacked_bytes": 128 * MIB}
    )


@pytest.fixture
def checkpoint(tmp_path):
    """A random SegFormer-B0, zipped as its directory is."""
    folder = tmp_path / "segformer"
    random_segformer(folder, ["background", "circle", "square"], width=32, size=(64, 64))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f"segformer/{file.name}")
    return out.getvalue()


def post_import(http, checkpoint, evaluate=None, **spec):
    files = {"checkpoint": ("segformer.zip", checkpoint)}
    if evaluate:
        files["evaluate"] = ("data.zip", evaluate)
    answer = http.post(VERSIONS, files=files, data={"spec": json.dumps(spec)})
    assert answer.status_code == 202, answer.text
    return answer.json()


def download(http, version, folder):
    folder.mkdir()
    for file in http.get(f"{VERSIONS}/{version}").json()["files"]:
        answer = http.get(file["href"]).raise_for_status()
        (folder / file["name"]).write_bytes(answer.content)
    return folder


def masks(folder, picture):
    """What transformers makes of a picture: its own processor, its own model."""
    from transformers import AutoImageProcessor  # after `tests.fixtures.segformer`, which can

    processor = AutoImageProcessor.from_pretrained(folder)
    image = Image.fromarray(picture)
    with torch.no_grad():
        output = reloaded(folder)(**processor(image, return_tensors="pt"))
    sizes = [picture.shape[:2]]
    return processor.post_process_semantic_segmentation(output, target_sizes=sizes)[0].numpy()


def segment(http, picture):
    answer = http.post(
        "/segment",
        content=encoded(picture, "png"),
        headers={"Accept": "image/png", "Content-Type": "image/png"},
    )
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def test_in_a_step_on_top_and_out_again(bench, served, tmp_path, checkpoint):
    labelled = pictures(tmp_path, ["circle", "square"], 1)
    # Of the size that the model sees: at others, the library scales logits and we scale labels.
    shown = draw(np.random.default_rng(5), ["circle", "star"], 64)[0]
    with bench.worker(WORKER):
        imported = wait(served, post_import(served, checkpoint, labelled))
        assert (imported["outcome"], imported["version"], imported["error"]) == ("live", 1, None)
        first = served.get(imported["links"]["version"]).json()
        found = segment(served, shown)
        learned = wait(served, post(served, pictures(tmp_path, ["star"], 2)))
        bench.assert_clean(imported["id"], learned["id"])
    assert (first["kind"], first["parent"], first["gate"]) == ("import", None, None)
    assert first["origin"]["source"] == "segformer.zip"
    assert first["scores"]["pictures"] == 8
    assert (learned["outcome"], learned["version"], learned["error"]) == ("live", 2, None)
    second = served.get(learned["links"]["version"]).json()
    assert (second["backbone"], second["lineage"]) == ("mit_b0", [1, 2])
    assert [c["name"] for c in second["classes"]] == ["background", "circle", "square", "star"]
    assert second["scores"]["introduced"]["circle"] == first["scores"]["iou"]["circle"]
    points = served.get("/admin/metrics").json()["models"][0]["points"]
    assert [point["classes"] for point in points] == [2, 3]
    same = np.mean(masks(download(served, 1, tmp_path / "one"), shown) == found)
    assert same > 0.999, "version 1 is what was imported"
    mine = segment(served, shown)
    same = np.mean(masks(download(served, 2, tmp_path / "two"), shown) == mine)
    assert same > 0.999, "and version 2 goes back to where it came from"


@pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
def test_an_unscored_import_and_its_chart(bench, served, checkpoint):
    with bench.worker(WORKER):
        done = wait(served, post_import(served, checkpoint, promote=False))
    assert (done["outcome"], done["version"]) == ("held", 1)
    version = served.get(done["links"]["version"]).json()
    assert version["scores"]["miou_all"] is None
    assert version["scores"]["iou"] == {"background": None, "circle": None, "square": None}
    (point,) = served.get("/admin/metrics").json()["models"][0]["points"]
    assert (point["miou_all"], point["miou_new"], point["live"]) == (None, None, False)
    served.post(f"{VERSIONS}/1:promote").raise_for_status()
    names = [c["name"] for c in served.get("/classes").json()["classes"]]
    assert names == ["background", "circle", "square"]


@pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
def test_killed_in_the_middle_an_import_starts_again(bench, served, tmp_path, checkpoint):
    many = voc_zip(tmp_path / "many.zip", ["circle"], pictures=200, size=64).read_bytes()
    task = post_import(served, checkpoint, many)
    with bench.worker(WORKER) as first:
        eventually(lambda: bench.states(task["id"])[-2:] == ["validating"] * 2)
        child = child_of(first)
        first.kill()
        eventually(lambda: is_gone(child), 10)
    assert bench.state(task["id"]) in RUNNING_STATES, "nobody holds it, nobody knows yet"
    with bench.worker(WORKER):
        done = wait(served, task)
        bench.assert_clean(task["id"])
    assert (done["outcome"], done["version"], done["tries"]) == ("live", 1, 2)
    assert len(bench.versions()) == 1
    assert [kept.pictures for kept in bench.held_out()] == [200]


@pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
def test_weights_that_do_not_fit_fail_the_task(bench, served, checkpoint):
    with zipfile.ZipFile(io.BytesIO(checkpoint)) as whole:
        entries = {name: whole.read(name) for name in whole.namelist()}
    entries["segformer/model.safetensors"] = entries["segformer/model.safetensors"][:-100]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    with bench.worker(WORKER):
        failed = wait(served, post_import(served, out.getvalue()))
        bench.assert_clean(failed["id"])
    assert (failed["state"], failed["tries"]) == ("failed", 1)
    assert "model.safetensors" in failed["error"]["detail"]
    assert bench.versions() == []
