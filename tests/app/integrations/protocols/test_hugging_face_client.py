"""Hugging Face's shape of image segmentation as `huggingface_hub`'s client calls it."""

import base64
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from PIL import Image
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.db import write_session
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key
from app.settings import Settings
from tests.app.inference.colour_graph import CLASSES, GREEN, RED
from tests.app.segmentation.conftest import Register
from tests.app.segmentation.requests import encoded, left_red_right_green, mask_of

PICTURE = left_red_right_green()
# A grey between black and red: the model is not sure of it.
UNSURE = Image.new("RGB", (64, 32), (124, 0, 0))


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep whatever token this machine has out of the tests."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


def found(elements: Any) -> dict[str, np.ndarray]:
    for one in elements:
        assert one.mask.mode == "L"
        assert set(np.unique(one.mask)) <= {0, 255}
    return {one.label: np.array(one.mask) == 255 for one in elements}


@pytest.mark.parametrize("how", ["bytes", "path", "name"])
def test_masks_are_those_of_segment(
    served: httpx.Client, register: Register, tmp_path: Path, how: str
) -> None:
    register()
    data = encoded(PICTURE)
    path = tmp_path / "a.png"
    path.write_bytes(data)
    asked = InferenceClient(base_url=f"{served.base_url}/hf/default")
    answer = asked.image_segmentation({"bytes": data, "path": path, "name": str(path)}[how])
    mask = mask_of(served, data)
    masks = found(answer)
    assert list(masks) == ["red", "green"]
    for info in (RED, GREEN):
        np.testing.assert_array_equal(masks[info.name], mask == info.index)
    assert all(0.9 < one.score <= 1 for one in answer)


def test_a_model_may_be_named_by_its_url(served: httpx.Client, register: Register) -> None:
    register()
    register(CLASSES[:2])
    register(model="street")
    url = f"{served.base_url}/hf/default"
    data = encoded(PICTURE)
    assert "green" not in found(InferenceClient(url).image_segmentation(data))
    assert "green" in found(InferenceClient(f"{url}?version=1").image_segmentation(data))
    street = InferenceClient().image_segmentation(data, model=f"{served.base_url}/hf/street")
    assert "green" in found(street)


def test_parameters(served: httpx.Client, register: Register) -> None:
    register()
    asked = InferenceClient(f"{served.base_url}/hf/default")
    data = encoded(UNSURE)
    (sure,) = asked.image_segmentation(data)
    label, score = sure.label, sure.score
    assert score < 0.99
    (background,) = asked.image_segmentation(data, mask_threshold=0.999)
    assert background.label == "background"
    assert asked.image_segmentation(data, threshold=1.0) == []
    (kept,) = asked.image_segmentation(
        data, threshold=0.1, subtask="semantic", overlap_mask_area_threshold=0.5
    )
    assert (kept.label, kept.score) == (label, score)
    with pytest.raises(HfHubHTTPError, match="semantic") as refused:
        asked.image_segmentation(data, subtask="instance")
    assert refused.value.response.status_code == 422


def test_refusals_reach_the_client_s_user(served: httpx.Client, register: Register) -> None:
    register()
    for model, data, told in (
        ("default", b"no picture at all", "post a picture's file"),
        ("default", encoded(PICTURE)[:80], "damaged"),
        ("nobody", encoded(PICTURE), "no model 'nobody'"),
    ):
        with pytest.raises(HfHubHTTPError, match=told):
            InferenceClient(f"{served.base_url}/hf/{model}").image_segmentation(data)


def test_keys_are_bearer_tokens(
    served: httpx.Client, register: Register, engine: Engine, settings: Settings
) -> None:
    register()
    register(model="street")
    with write_session(engine) as session:
        key = create_key(session, read_secret(settings), "b", [Scope.SEGMENT], models=["street"])

    def status(model: str, token: str | None) -> int:
        asked = InferenceClient(base_url=f"{served.base_url}/hf/{model}", api_key=token)
        try:
            asked.image_segmentation(encoded(PICTURE))
        except HfHubHTTPError as error:
            return error.response.status_code
        return 200

    assert status("street", key) == 200
    assert status("default", key) == 403
    assert status("street", None) == 401


def test_bodies_in_json(client: TestClient, register: Register) -> None:
    register()
    text = base64.b64encode(encoded(PICTURE)).decode()

    def ask(body: Any, path: str = "/hf/default") -> httpx.Response:
        return client.post(path, json=body)

    (red, _) = ask({"inputs": "data:image/png;base64," + text, "parameters": None}).json()
    mask = Image.open(BytesIO(base64.b64decode(red["mask"])))
    assert (red["label"], mask.size, mask.mode) == ("red", (64, 32), "L")
    for body in (
        {"inputs": "https://example.org/a.png"},
        {"inputs": "?"},
        {"image": text},
        {"inputs": text, "parameters": {"treshold": 1}},
        {"inputs": text, "parameters": {"threshold": 2}},
        {"inputs": [[]] * 100},
        [],
    ):
        refused = ask(body)
        assert refused.status_code == 422, body
        assert refused.headers["Content-Type"] == "application/problem+json"
    assert ask({"inputs": text}, "/hf/default?versoin=1").status_code == 422
    assert client.post("/hf/default", files={"image": encoded(PICTURE)}).status_code == 415
