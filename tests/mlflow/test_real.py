"""Versions mirrored to a real MLflow server, loaded from it where nothing of ours is installed.

`make test-mlflow` runs it, and writes docs/results/mlflow.json.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from demo.pictures import draw_dataset, draw_scene, jpeg
from tests.fixtures.missing import missing
from tests.label_studio.running import made_key, service
from tests.mlflow.running import PYTHON, ROOT, free_port, load_and_predict, mlflow_server

pytestmark = [pytest.mark.mlflow, pytest.mark.timeout(3600)]

OLD, NEW, NEWEST = ("mushroom", "fish"), "cup", "leaf"
SIZE, PICTURES = 64, 12
NAME = "sats-default"
REPORT = "SATS_MLFLOW_REPORT"
_API = "/api/2.0/mlflow"


class There:
    """What a real server says is there."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def model(self) -> dict[str, Any]:
        answer = self.http.get(f"{_API}/registered-models/get", params={"name": NAME})
        return answer.json().get("registered_model", {}) if answer.is_success else {}

    def live(self) -> str | None:
        """Return our number of the version that the alias names."""
        named = {one["alias"]: one["version"] for one in self.model().get("aliases", [])}
        found = [one for one in self.versions() if one["version"] == named.get("live")]
        return tags(found[0])["sats.version"] if found else None

    def versions(self) -> list[dict[str, Any]]:
        only = {"filter": f"name = '{NAME}'"}
        found = self.http.get(f"{_API}/model-versions/search", params=only).json()
        return sorted(found.get("model_versions", []), key=lambda one: int(one["version"]))

    def run(self, number: str) -> dict[str, Any]:
        run: dict[str, Any] = self.http.get(f"{_API}/runs/get", params={"run_id": number}).json()
        return run["run"]

    def runs(self) -> int:
        asked = {"experiment_name": NAME}
        found = self.http.get(f"{_API}/experiments/get-by-name", params=asked).json()
        only = {"experiment_ids": [found["experiment"]["experiment_id"]]}
        return len(self.http.post(f"{_API}/runs/search", json=only).json()["runs"])


def tags(one: dict[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in one.get("tags", [])}


@contextmanager
def asking(url: str, key: str = "") -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with httpx.Client(base_url=url, headers=headers, timeout=120, trust_env=False) as http:
        yield http


def until(what: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(1)


class Ours:
    """The service, asked with a key."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def learn(self, dataset: Path, **spec: Any) -> int:
        """Post a task, wait for its end, and return the version that it made."""
        with dataset.open("rb") as stream:
            files, said = {"dataset": stream}, {"spec": json.dumps(spec)}
            answer = self.http.post("/tasks", files=files, data=said)
        assert answer.status_code == 202, answer.text
        path = answer.json()["links"]["self"]
        until(lambda: self.http.get(path).json()["finished_at"] is not None, 1500)
        number = self.http.get(path).json()["version"]
        assert number is not None, self.http.get(path).text
        return int(number)

    def move(self, number: int) -> None:
        path = "/admin/models/default/aliases/live"
        answer = self.http.put(path, json={"version": number})
        assert answer.is_success, answer.text

    def segmented(self, picture: Path, number: int) -> np.ndarray:
        headers = {"Accept": "image/png", "Content-Type": "application/octet-stream"}
        path = f"/segment?version={number}"
        answer = self.http.post(path, content=picture.read_bytes(), headers=headers)
        assert answer.status_code == 200, answer.text
        return np.asarray(Image.open(BytesIO(answer.content)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    if not PYTHON.exists():
        missing("MLflow is not installed: `make test-mlflow` does it")
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "pictures").mkdir()
    return tmp_path


def drawn(folder: Path) -> list[Path]:
    """Draw pictures: photographs, one that lies on its side, one with an alpha channel."""
    made = []
    for number in range(PICTURES):
        rng = np.random.default_rng((5, number))
        scene = draw_scene(rng, SIZE + 16 * (number % 4), (NEW, *OLD), always=(NEW,))
        image, suffix, options = Image.fromarray(scene.picture), "png", {}
        if number == 1:
            image.putalpha(Image.linear_gradient("L").resize(image.size))
        if number == 2:
            exif = Image.Exif()
            exif[0x0112] = 6
            options = {"exif": exif}
        path = folder / f"{number}.{suffix}"
        image.save(path, **options)
        if number > 2:
            path = path.with_suffix(".jpg")
            path.write_bytes(jpeg(scene.picture, 90))
        made.append(path)
    return made


def test_the_mirror(folder: Path) -> None:
    report: dict[str, Any] = {"command": "make test-mlflow", "checked": []}
    checked = report["checked"].append
    settings = {
        "SATS_DATA_DIR": str(folder / "data"),
        "SATS_GATE_MAX_DROP": "1",
        "SATS_GATE_MIN_IOU": "0",
        "SATS_THREADS": "1",
    }
    key = made_key(settings, "admin")
    draw_dataset(folder / "base.zip", OLD, 60, SIZE, seed=1)
    draw_dataset(folder / "cups.zip", (NEW,), 40, SIZE, seed=2)
    draw_dataset(folder / "leaves.zip", (NEWEST,), 40, SIZE, seed=3)
    base = {"size": SIZE, "epochs": 2, "batch_size": 8, "pretrained": False, "method": "finetune"}
    with service(folder, settings) as url, asking(url, key) as http:
        assert Ours(http).learn(folder / "base.zip", name="base", model="default", **base) == 1

    port = free_port()
    mirrored = settings | {"SATS_MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}
    with service(folder, mirrored) as url, asking(url, key) as http:
        ours = Ours(http)
        # Nobody is there: a task ends all the same, and so does a promotion.
        task = {"name": "cups", "method": "frozen", "model": "default"}
        assert ours.learn(folder / "cups.zip", **task) == 2
        ours.move(1)
        ours.move(2)
        checked("tasks and promotions end while MLflow is away")
        until(lambda: "since" in (folder / "data" / "mlflow.json").read_text())

        with mlflow_server(folder / "mlflow", port) as server, asking(server) as theirs:
            there = There(theirs)
            # The longest wait so far: it was tried a few times.
            until(lambda: there.live() == "2", 900)
            first, second = there.versions()
            assert [tags(one)["sats.version"] for one in (first, second)] == ["1", "2"]
            assert (first["version"], second["version"]) == ("1", "2")
            assert tags(second)["sats.parent"] == "1"
            checked("a version from before the setting and one from an outage are mirrored")

            run = there.run(second["run_id"])
            metrics = {one["key"]: one["value"] for one in run["data"]["metrics"]}
            path = "/admin/models/default/versions/2"
            shown = ours.http.get(path).json()
            for name, iou in shown["scores"]["iou"].items():
                assert iou is None or metrics[f"iou/{name}"] == pytest.approx(iou)
            assert metrics["miou_all"] == pytest.approx(shown["scores"]["miou_all"])
            params = {one["key"]: one["value"] for one in run["data"]["params"]}
            assert params["method"] == "frozen"
            assert run["info"]["status"] == "FINISHED"
            files = {file["name"]: file["sha256"] for file in shown["files"]}
            assert tags(second)["sats.checksum"] == files["model.onnx"]
            checked("settings, IoU per class and the graph's checksum are those of the service")

            report["pyfunc"] = agreement(ours, server, folder)
            checked("pyfunc segments where neither torch nor anything of ours is installed")

            ours.move(1)
            until(lambda: there.live() == "1")
            answer = ours.http.post("/admin/models/default/versions/1:rollback")
            assert answer.is_success, answer.text
            until(lambda: there.live() == "2")
            checked("the alias follows a promotion and a roll-back")

            task["name"] = "leaves"
            assert ours.learn(folder / "leaves.zip", **task) == 3
            until(lambda: there.live() == "3")
            ours.move(2)
            assert ours.http.delete("/admin/models/default/versions/3").is_success
            until(lambda: "sats.deleted_at" in tags(there.versions()[2]))
            until(lambda: there.live() == "2")
            checked("a deleted version stays, tagged")

    with (
        mlflow_server(folder / "mlflow", port) as server,
        asking(server) as theirs,
        service(folder, mirrored),
    ):
        there = There(theirs)
        # Another process; the mark that nothing is to be done is taken away, too.
        body = {"name": NAME, "key": "sats.mirrored", "value": "no"}
        assert there.http.post(f"{_API}/registered-models/set-tag", json=body).is_success
        until(lambda: tags(there.model())["sats.mirrored"] != "no")
        assert (len(there.versions()), there.runs()) == (3, 3)
        checked("another worker makes nothing twice")
    write(report)


def agreement(ours: Ours, server: str, folder: Path) -> dict[str, Any]:
    """Compare masks of MLflow's model with those of `/segment`."""
    pictures = drawn(folder / "pictures")
    said = load_and_predict(server, f"models:/{NAME}@live", folder / "masks.npz", pictures)
    same = pixels = whole = 0
    with np.load(folder / "masks.npz") as masks:
        for number, picture in enumerate(pictures):
            expected, found = ours.segmented(picture, 2), masks[f"arr_{number}"]
            assert found.shape == expected.shape
            same += int((found == expected).sum())
            pixels += found.size
            whole += bool((found == expected).all())
    assert same / pixels > 0.999
    assert said["table_is_the_same"]
    return said | {"pictures": len(pictures), "same": whole, "share_of_pixels": same / pixels}


def write(report: dict[str, Any]) -> None:
    """Write what came out, where the environment says so."""
    if os.environ.get(REPORT):
        text = json.dumps(report, indent=2) + "\n"
        (ROOT / os.environ[REPORT]).write_text(text, encoding="utf-8")
