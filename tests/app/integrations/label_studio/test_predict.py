"""Predictions as Label Studio asks for them, of pictures that are fetched from it."""

import json

import httpx
import numpy as np
import onnxruntime
import pytest
from starlette.testclient import TestClient

from sats_core.data.readers.canvas import Canvas
from tests.app.inference.colour_graph import CLASSES, GREEN, RED
from tests.app.integrations.label_studio.asking import BASE, body, brushes
from tests.app.segmentation.conftest import Register
from tests.app.segmentation.requests import encoded, left_red_right_green, mask_of
from tests.fixtures.label_studio import CONFIG, FakeLabelStudio

PICTURE = encoded(left_red_right_green())


def test_brushes_are_the_masks_of_segment(
    served: httpx.Client, fake: FakeLabelStudio, register: Register
) -> None:
    register()
    fake.files["/data/upload/1/a.png"] = PICTURE
    answer = served.post(f"{BASE}/predict", json=body(["/data/upload/1/a.png"])).json()
    assert answer["model_version"] == "default@1"
    (result,) = answer["results"]
    assert result["model_version"] == "default@1"
    assert 0.9 < result["score"] <= 1
    mask, found = mask_of(served, PICTURE), brushes(result)
    assert set(found) == {"red", "green"}
    for info in (RED, GREEN):
        np.testing.assert_array_equal(found[info.name], mask == info.index)
    assert {one["from_name"] for one in result["result"]} == {"brush"}
    assert {one["to_name"] for one in result["result"]} == {"image"}
    assert len({one["id"] for one in result["result"]}) == 2


def test_the_version_is_named_alike_everywhere_and_changes(
    client: TestClient, fake: FakeLabelStudio, register: Register
) -> None:
    def setup(path: str = "") -> str:
        return client.post(f"{BASE}{path}/setup", json={"schema": CONFIG}).json()["model_version"]

    assert setup() == "default@0"
    assert client.post(f"{BASE}/predict", json=body([])).status_code == 404
    for number in (1, 2):
        register()
        client.app.state.services.live.refresh()  # type: ignore[attr-defined]
        assert setup() == f"default@{number}"
        assert client.get(f"{BASE}/versions").json()["versions"][0] == setup()
        answer = client.post(f"{BASE}/predict", json=body(["/data/none.png"])).json()
        assert answer["results"] == [{"result": [], "model_version": setup()}]
    register(CLASSES[:2], model="street")
    client.app.state.services.live.refresh()  # type: ignore[attr-defined]
    assert setup("/street") == "street@1"
    assert client.get(f"{BASE}/street/health").json()["status"] == "UP"
    assert client.get(f"{BASE}/health").json()["status"] == "UP"


def test_what_is_asked_before_every_batch_loads_no_model(
    client: TestClient,
    fake: FakeLabelStudio,
    register: Register,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded: list[str] = []
    load = onnxruntime.InferenceSession

    def session(graph: str, *asked: object, **how: object) -> onnxruntime.InferenceSession:
        loaded.append(str(graph))
        return load(graph, *asked, **how)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    register()
    client.app.state.services.live.refresh()  # type: ignore[attr-defined]
    told = client.post(f"{BASE}/setup", json={"schema": CONFIG}).json()
    assert told["model_version"] == "default@1"
    assert client.get(f"{BASE}/health").status_code == 200
    assert client.get(f"{BASE}/versions").status_code == 200
    assert loaded == []
    fake.files["/data/a.png"] = PICTURE
    client.post(f"{BASE}/predict", json=body(["/data/a.png"])).raise_for_status()
    assert loaded, "else nobody would notice here"


def test_only_labels_of_the_configuration_are_answered(
    client: TestClient, fake: FakeLabelStudio, register: Register
) -> None:
    register()
    fake.files["/data/a.png"] = PICTURE
    config = CONFIG.replace('"red" background', '"Rot" alias="red" background')
    config = config.replace('<Label value="green"/>', '<Label value="blue"/>')
    (result,) = client.post(f"{BASE}/predict", json=body(["/data/a.png"], config)).json()["results"]
    assert list(brushes(result)) == ["red"]
    none = CONFIG.replace("BrushLabels", "RectangleLabels")
    (result,) = client.post(f"{BASE}/predict", json=body(["/data/a.png"], none)).json()["results"]
    assert result["result"] == []
    assert len(fake.paths) == 1


def test_polygons_where_the_configuration_has_them(
    client: TestClient, fake: FakeLabelStudio, register: Register
) -> None:
    register()
    fake.files["/data/a.png"] = PICTURE
    config = CONFIG.replace("BrushLabels", "PolygonLabels").replace("$image", "$photo")
    asked = body(["/data/a.png"], config, key="photo")
    (result,) = client.post(f"{BASE}/predict", json=asked).json()["results"]
    values = {one["value"]["polygonlabels"][0]: one["value"] for one in result["result"]}
    mask = mask_of(client, PICTURE)
    for info in (RED, GREEN):
        points = values[info.name]["points"]
        assert values[info.name]["closed"] is True
        assert points[0] != points[-1]
        canvas = Canvas(*mask.shape)
        canvas.polygon([x for u, v in points for x in (u * 64 / 100, v * 32 / 100)], 1)
        # The outline cuts its corners, by half a pixel each.
        assert ((canvas.label() == 1) != (mask == info.index)).sum() <= 6


def test_as_many_results_as_tasks_whatever_comes(
    client: TestClient, fake: FakeLabelStudio, register: Register
) -> None:
    register()
    fake.files |= {
        "/data/a.png": PICTURE,
        "/data/broken.png": PICTURE[:60],
        "/data/text.png": b"no picture",
        "/data/huge.png": bytes(40_000_000),
        "/data/away.png": 404,
        "/data/busy.png": 503,
    }
    addresses = [
        "/data/a.png",
        "/data/broken.png",
        "/data/text.png",
        "/data/huge.png",
        "/data/away.png",
        "/data/busy.png",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "/api/users",
        "",
        "/data/a.png",
    ]
    asked = body(addresses)
    asked["tasks"].insert(3, {"id": "x", "data": ["/data/a.png"]})
    answer = client.post(f"{BASE}/predict", json=asked).json()
    shown = [bool(one) and bool(one["result"]) for one in answer["results"]]
    assert shown == [True, *[False] * 10, True]
    # Busy now: no prediction at all, so that Label Studio asks again.
    assert [one for one in answer["results"] if one == []] == [answer["results"][6]]


def test_thousands_of_tasks_in_one_request(
    client: TestClient, fake: FakeLabelStudio, register: Register
) -> None:
    register()
    fake.files["/data/a.png"] = PICTURE
    addresses = ["/data/a.png" if number % 500 == 0 else "" for number in range(3000)]
    answer = client.post(f"{BASE}/predict", json=body(addresses)).json()
    assert len(answer["results"]) == 3000
    shown = [bool(one["result"]) for one in answer["results"]]
    assert shown == [number % 500 == 0 for number in range(3000)]


def test_what_is_no_request_is_refused(client: TestClient, register: Register) -> None:
    register()
    for text in (b"", b"[]", b'{"tasks": [1]}', b'{"tasks"', b'{"tasks": [{"id": 1}'):
        answer = client.post(f"{BASE}/predict", content=text)
        assert answer.status_code == 400, (text, answer.text)
    config = '<!DOCTYPE a [<!ENTITY b "c">]><View/>'
    answer = client.post(f"{BASE}/predict", json=body([], config))
    assert (answer.status_code, "document type" in answer.text) == (400, True)
    answer = client.post(f"{BASE}/predict", json=body([], "<View>"))
    assert answer.status_code == 400
    assert client.post(f"{BASE}/no%20name/setup").status_code == 422
    answer = client.post(f"{BASE}/predict", json=body([]))
    assert json.loads(answer.text) == {"model_version": "default@1", "results": []}
