"""The whole loop with a real Label Studio: connect, pre-annotate, label, learn, predict anew.

`make test-label-studio` runs it, and writes docs/results/label-studio.json.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from demo.pictures import Scene, draw_dataset, draw_scene, jpeg
from sats_core.data.readers.brush import decode_alpha
from tests.fixtures.missing import missing
from tests.label_studio.running import (
    PYTHON,
    ROOT,
    TOKEN,
    in_its_environment,
    label_studio,
    made_key,
    service,
)

pytestmark = [pytest.mark.label_studio, pytest.mark.timeout(3600)]

OLD, NEW = ("mushroom", "fish", "leaf"), "cup"
SIZE = 64
LABELLED, UNSEEN = 64, 12
REPORT = "SATS_LABEL_STUDIO_REPORT"
CONFIG = f"""
<View>
  <Image name="image" value="$image" zoom="true"/>
  <BrushLabels name="brush" toName="image">
    {"".join(f'<Label value="{name}"/>' for name in (*OLD, NEW))}
  </BrushLabels>
</View>
"""
DECODE = """
import json, sys
import numpy as np
from label_studio_sdk.converter.brush import decode_rle, mask2rle
found = []
for region in json.load(sys.stdin):
    rle, h, w = region["value"]["rle"], region["original_height"], region["original_width"]
    alpha = decode_rle(rle).reshape(h, w, 4)[:, :, 3]
    values = set(np.unique(alpha).tolist())
    same = mask2rle(alpha.astype(np.uint8)) == rle
    found.append({"visible": 255 in values, "others": bool(values - {0, 255}), "same": same})
json.dump(found, sys.stdout)
"""
"""What Label Studio's own SDK makes of brushes."""


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not PYTHON.exists():
        missing("Label Studio is not installed: `make test-label-studio` does it")
    with label_studio(tmp_path_factory.mktemp("label-studio")) as url:
        yield url


class Ours:
    """The service, asked with a key."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self.key = key
        headers = {"Authorization": f"Bearer {key}"}
        self.http = httpx.Client(base_url=url, headers=headers, timeout=120, trust_env=False)

    def wait(self, path: str, ended: Callable[[dict[str, Any]], bool], seconds: float) -> Any:
        end = time.monotonic() + seconds
        while True:
            answer = self.http.get(path)
            assert answer.status_code == 200, answer.text
            if ended(answer.json()):
                return answer.json()
            assert time.monotonic() < end, answer.text
            time.sleep(1)

    def segmented(self, data: bytes) -> np.ndarray:
        headers = {"Accept": "image/png", "Content-Type": "image/jpeg"}
        answer = self.http.post("/segment", content=data, headers=headers)
        return np.array(Image.open(BytesIO(answer.content)))

    def indices(self) -> dict[str, int]:
        classes = self.http.get("/classes").json()["classes"]
        return {one["name"]: one["index"] for one in classes}


@pytest.fixture(scope="module")
def ours(theirs: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ours]:
    folder = tmp_path_factory.mktemp("service")
    settings = {
        "SATS_DATA_DIR": str(folder / "data"),
        "SATS_LABEL_STUDIO_URL": theirs,
        "SATS_LABEL_STUDIO_API_KEY": TOKEN,
        "SATS_GATE_MAX_DROP": "1",
        "SATS_GATE_MIN_IOU": "0",
        "SATS_THREADS": "1",
    }
    key = made_key(settings, "segment", "submit")
    with service(folder, settings) as url:
        ours = Ours(url, key)
        post_base(ours, folder)
        yield ours
        ours.http.close()


def post_base(ours: Ours, folder: Path) -> None:
    """Teach the model what it knows before."""
    draw_dataset(folder / "base.zip", OLD, 300, SIZE, seed=1)
    spec = {"name": "forest", "size": SIZE, "epochs": 12, "batch_size": 8}
    spec |= {"learning_rate": 1.2e-3, "pretrained": False, "method": "finetune"}
    with (folder / "base.zip").open("rb") as dataset:
        answer = ours.http.post(
            "/tasks", files={"dataset": dataset}, data={"spec": json.dumps(spec)}
        )
    assert answer.status_code == 202, answer.text
    path = answer.json()["links"]["self"]
    ended = ours.wait(path, lambda task: task["finished_at"] is not None, 1500)
    assert ended["version"] == 1, ended


@pytest.fixture(scope="module")
def api(theirs: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Token {TOKEN}"}
    with httpx.Client(base_url=theirs, headers=headers, timeout=300, trust_env=False) as made:
        yield made


def checked(answer: httpx.Response) -> Any:
    assert answer.is_success, (answer.status_code, answer.text[:2000])
    return answer.json() if answer.content else None


def scenes() -> dict[str, Scene]:
    """Pictures that all show a cup, by the names of their files."""
    return {
        f"scene-{number:03d}.jpg": draw_scene(
            np.random.default_rng((7, number)), SIZE, (NEW, *OLD), always=(NEW,)
        )
        for number in range(LABELLED + UNSEEN)
    }


def predict(api: httpx.Client, project: int) -> dict[int, dict[str, Any]]:
    """Have Label Studio fetch predictions for all tasks; return the newest of each task."""
    asked = {"ordering": [], "selectedItems": {"all": True, "excluded": []}}
    action = {"id": "retrieve_tasks_predictions", "project": project}
    checked(api.post("/api/dm/actions", params=action, json=asked | {"project": str(project)}))
    found = checked(api.get("/api/predictions/", params={"project": project}))
    return {one["task"]: one for one in sorted(found, key=lambda one: one["id"])}


def brushes(prediction: dict[str, Any]) -> dict[str, np.ndarray]:
    found = {}
    for region in prediction["result"]:
        height, width = region["original_height"], region["original_width"]
        alpha = decode_alpha(bytes(region["value"]["rle"]), height * width)
        found[region["value"]["brushlabels"][0]] = alpha.reshape(height, width) == 255
    return found


def annotated(masks: Sequence[np.ndarray], label: str) -> list[dict[str, Any]]:
    """Return an annotation of each mask, whose brush Label Studio's SDK writes."""
    code = """
import json, sys
import numpy as np
from label_studio_sdk.converter.brush import mask2rle
json.dump([mask2rle(np.array(m, dtype=np.uint8) * 255) for m in json.load(sys.stdin)], sys.stdout)
"""
    written = in_its_environment(code, json.dumps([mask.astype(int).tolist() for mask in masks]))
    regions = [
        {
            "type": "brushlabels",
            "from_name": "brush",
            "to_name": "image",
            "original_width": mask.shape[1],
            "original_height": mask.shape[0],
            "image_rotation": 0,
            "value": {"format": "rle", "rle": rle, "brushlabels": [label]},
        }
        for mask, rle in zip(masks, json.loads(written), strict=True)
    ]
    return [{"result": [region]} for region in regions]


def test_the_loop(theirs: str, ours: Ours, api: httpx.Client) -> None:
    report: dict[str, Any] = {"command": "make test-label-studio"}
    report["label_studio"] = checked(api.get("/api/version"))["release"]
    project = checked(api.post("/api/projects/", json={"title": "Cups", "label_config": CONFIG}))[
        "id"
    ]
    drawn = scenes()
    files = {name: jpeg(scene.picture, 95) for name, scene in drawn.items()}
    checked(
        api.post(
            f"/api/projects/{project}/import",
            files=[(name, (name, data, "image/jpeg")) for name, data in files.items()],
        )
    )
    listed = checked(api.get("/api/tasks/", params={"project": project, "page_size": 100}))
    # An upload is called `0123abcd-scene-007.jpg`.
    names = {task["id"]: task["data"]["image"][-len("scene-000.jpg") :] for task in listed["tasks"]}
    assert set(names.values()) == set(files)

    # Connect, as the form of Label Studio's settings does.
    backend = {
        "project": project,
        "url": f"{ours.url}/integrations/label-studio",
        "title": "sats",
        "auth_method": "BASIC_AUTH",
        "basic_auth_user": "label studio",
    }
    refused = api.post("/api/ml/", json=backend | {"basic_auth_pass": "wrong"})
    assert refused.status_code == 400, refused.text
    connected = checked(api.post("/api/ml/", json=backend | {"basic_auth_pass": ours.key}))
    assert (connected["readable_state"], connected["model_version"]) == ("Connected", "default@1")

    # Predictions are the masks of `/segment`.
    began = time.monotonic()
    before = predict(api, project)
    report["predictions"] = {"tasks": len(before), "seconds": round(time.monotonic() - began, 1)}
    assert set(before) == set(names)
    indices = ours.indices()
    for task, prediction in before.items():
        assert prediction["model_version"] == "default@1"
        assert 0 < prediction["score"] <= 1
        mask = ours.segmented(files[names[task]])
        found = brushes(prediction)
        assert set(found) == {name for name, i in indices.items() if i and (mask == i).any()}
        for name, there in found.items():
            np.testing.assert_array_equal(there, mask == indices[name])
    regions = [region for one in before.values() for region in one["result"]]
    told = json.loads(in_its_environment(DECODE, json.dumps(regions)))
    assert all(one["same"] and not one["others"] and one["visible"] for one in told)
    report["brushes_as_the_sdk_writes_them"] = len(told)

    # Asked again, nothing is predicted twice.
    assert {one["id"] for one in predict(api, project).values()} == {
        one["id"] for one in before.values()
    }

    # A new class, labelled by hand.
    labelled = sorted(names)[:LABELLED]
    made = annotated([drawn[names[task]].objects == 1 for task in labelled], NEW)
    for task, annotation in zip(labelled, made, strict=True):
        checked(api.post(f"/api/tasks/{task}/annotations/", json=annotation))
    began = time.monotonic()
    checked(api.post(f"/api/ml/{connected['id']}/train", json={}))
    status = f"/integrations/label-studio/projects/{project}"
    fetched = ours.wait(status, lambda one: one["state"] not in ("waiting", "fetching"), 300)
    assert fetched["state"] == "queued", fetched
    assert (fetched["pictures"], fetched["classes"]) == (LABELLED, [NEW])
    task = ours.wait(fetched["task"], lambda one: one["finished_at"] is not None, 900)
    assert task["version"] == 2, task
    report["training"] = {
        "pictures": LABELLED,
        "method": task["method"],
        "seconds": round(time.monotonic() - began, 1),
    }

    # The next predictions have it, of all tasks: they name a new version.
    # The API looks who is live twice a second; the worker may have told of the task before that.
    ours.wait("/classes", lambda one: one["version"] == 2, 5)
    after = predict(api, project)
    assert {one["model_version"] for one in after.values()} == {"default@2"}
    both = either = 0
    for number in set(names) - set(labelled):
        truth = drawn[names[number]].objects == 1
        cup = brushes(after[number]).get(NEW, np.zeros_like(truth))
        both += int((truth & cup).sum())
        either += int((truth | cup).sum())
    report["new_class"] = {"unseen_pictures": UNSEEN, "iou": round(both / either, 3)}
    # Before it was 0. A model of minutes, and a class that is in every picture where one in four is
    # expected: how well classes are learned is not what is looked at here.
    assert both / either > 0.05

    # Nothing new: it says so, and queues nothing.
    checked(api.post(f"/api/ml/{connected['id']}/train", json={}))
    again = ours.wait(status, lambda one: one["state"] not in ("waiting", "fetching"), 300)
    assert (again["state"], again["task"]) == ("nothing_new", fetched["task"])
    write(report)


def write(report: dict[str, Any]) -> None:
    """Write what came out, where the environment says so."""
    if os.environ.get(REPORT):
        text = json.dumps(report, indent=2) + "\n"
        (ROOT / os.environ[REPORT]).write_text(text, encoding="utf-8")
