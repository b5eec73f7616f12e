"""Every form of an answer, and what a request can ask of it."""

import base64
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco
from starlette.testclient import TestClient

from app.errors.fields import MOST_ERRORS
from app.segmentation.upload import FIELDS
from tests.app.inference import colour_graph
from tests.app.inference.colour_graph import GREEN, RED
from tests.app.segmentation.conftest import Register
from tests.app.segmentation.requests import encoded, left_red_right_green

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")  # pycocotools' decode


@pytest.fixture
def halves(client: TestClient, register: Register) -> bytes:
    register()
    return encoded(left_red_right_green())


def ask(client: TestClient, data: bytes, accept: str, query: str = "") -> Any:
    answer = client.post(f"/segment{query}", content=data, headers={"Accept": accept})
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == accept
    return answer


def test_every_way_to_post_is_answered_alike(client: TestClient, halves: bytes) -> None:
    text = base64.b64encode(halves).decode()
    answers = [
        *(client.post("/segment", files={field: ("a", halves)}) for field in FIELDS),
        client.post("/segment", content=halves),
        client.post("/segment", content=halves, headers={"Content-Type": "text/plain"}),
        client.post("/segment", json={"image": text}),
        client.post("/segment", json={"images": ["data:image/png;base64," + text]}),
    ]
    shown = [answer.json()["pictures"][0]["classes"] for answer in answers]
    assert [c["name"] for c in shown[0]] == ["red", "green"]
    assert all(classes == shown[0] for classes in shown)
    url = client.post("/segment", json={"image": "https://example.org/cat.jpg"})
    assert url.status_code == 422
    assert "fetches nothing" in url.json()["detail"]
    none = client.post("/segment", json={"image": base64.b64encode(b"no picture").decode()})
    assert (none.status_code, none.json()["errors"][0]["file"]) == (422, "image")


def test_all_forms_agree(client: TestClient, halves: bytes) -> None:
    mask = np.array(Image.open(BytesIO(ask(client, halves, "image/png").content)))
    grey = Image.open(BytesIO(ask(client, halves, "image/png; profile=confidence").content))
    webp = Image.open(BytesIO(ask(client, halves, "image/webp; profile=overlay").content))
    answer = ask(client, halves, "application/x-npz").content
    with np.load(BytesIO(answer), allow_pickle=False) as arrays:
        labels, scores = arrays["labels"], arrays["scores"]
        assert arrays["classes"].tolist() == ["background", "red", "green", "blue"]
        assert arrays["indices"].tolist() == [0, 1, 2, 7]
    assert (labels.dtype, scores.dtype) == (np.uint8, np.float16)
    np.testing.assert_array_equal(labels, mask)
    np.testing.assert_allclose(np.array(grey), scores.astype(float) * 255, atol=0.6)
    assert (webp.format, webp.size) == ("WEBP", (64, 32))
    body = ask(client, halves, "application/json", "?polygons=true").json()
    for shown in body["pictures"][0]["classes"]:
        alone = mask == shown["index"]
        np.testing.assert_array_equal(coco.decode(shown["rle"]), alone)
        assert shown["pixels"] == alone.sum()
        assert shown["score"] == pytest.approx(scores[alone].mean(dtype=float), abs=2e-3)
        (((ring,)),) = ([shown["polygons"][0]],)
        xs, ys = np.array(ring).T
        left, top, width, height = shown["box"]
        assert [xs.min(), ys.min(), np.ptp(xs), np.ptp(ys)] == [left, top, width, height]


def test_a_legend_only_where_it_is_asked_for(client: TestClient, halves: bytes) -> None:
    for accept in ("image/png; profile=overlay", "image/webp; profile=overlay"):
        content = ask(client, halves, accept, "?legend=true").content
        assert Image.open(BytesIO(content)).height > 32


def test_classes_that_are_not_asked_for_are_background(client: TestClient, halves: bytes) -> None:
    mask = np.array(Image.open(BytesIO(ask(client, halves, "image/png", "?classes=red").content)))
    assert set(np.unique(mask)) == {0, RED.index}
    body = ask(client, halves, "application/json", "?classes=green,%20blue").json()
    background, green = body["pictures"][0]["classes"]
    assert (background["name"], background["score"]) == ("background", None)
    assert (green["name"], green["index"]) == ("green", GREEN.index)
    assert background["pixels"] + green["pixels"] == 64 * 32
    both = ask(client, halves, "application/json", "?classes=green,red").json()
    assert [c["name"] for c in both["pictures"][0]["classes"]] == ["red", "green"]


def test_a_class_s_name_may_have_commas_and_outer_blanks(
    client: TestClient, register: Register
) -> None:
    odd = (replace(RED, name="red, light"), replace(GREEN, name=" green"))
    register((colour_graph.BACKGROUND, *odd))
    picture = encoded(left_red_right_green())
    for query in ("?classes=red,%20light&classes=%20green", "?classes=%20green&classes=red, light"):
        body = ask(client, picture, "application/json", query).json()
        names = [c["name"] for c in body["pictures"][0]["classes"]]
        assert names == ["red, light", " green"]


def test_of_many_unknown_classes_the_first_are_named(client: TestClient, halves: bytes) -> None:
    many = ",".join(f"c{i}" for i in range(2000))
    answer = client.post(f"/segment?classes={many}", content=halves)
    assert answer.status_code == 422
    assert len(answer.json()["errors"]) == MOST_ERRORS


def test_classes_that_nobody_knows_are_named(client: TestClient, halves: bytes) -> None:
    answer = client.post("/segment?classes=red,purple,,purple", content=halves)
    assert answer.status_code == 422
    problem = answer.json()
    assert [error.get("class") for error in problem["errors"]] == ["purple", None]
    assert all(error["field"] == "query.classes" for error in problem["errors"])
    assert "'purple'" in problem["detail"]


def test_answers_that_are_no_numbers_are_a_version_that_cannot_be_served(
    client: TestClient, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(colour_graph, "SHARPNESS", float("nan"))
    register()
    answer = client.post("/segment", content=encoded(left_red_right_green()))
    assert answer.status_code == 503, answer.text
    assert "cannot be served" in answer.json()["detail"]


def test_unsure_pixels_are_background(client: TestClient, register: Register) -> None:
    register()
    share = np.linspace(0, 1, 64)[:, None]
    row = (1 - share) * RED.colour + share * GREEN.colour
    from_red_to_green = encoded(Image.fromarray(np.tile(row, (32, 1, 1)).astype(np.uint8)))
    content = ask(client, from_red_to_green, "application/x-npz").content
    with np.load(BytesIO(content)) as arrays:
        labels, scores = arrays["labels"], arrays["scores"].astype(float)
    assert scores.min() < 0.9 < scores.max()
    cut = ask(client, from_red_to_green, "image/png", "?min_score=0.9").content
    mask = np.array(Image.open(BytesIO(cut)))
    np.testing.assert_array_equal(mask, np.where(scores < 0.9, 0, labels))


@pytest.mark.parametrize(
    "query",
    [
        *("min_score=1.1", "min_score=-1", "min_score=nan", "tolerance=-1", "tolerance=inf"),
        *("polygons=perhaps", "legend=2"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_the_body(
    query: str, client: TestClient, halves: bytes
) -> None:
    answer = client.post(f"/segment?{query}", content=b"no picture")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "query." + query.partition("=")[0]


def test_pictures_of_one_pixel_in_a_side(client: TestClient, register: Register) -> None:
    register()
    for size in ((1, 1), (30_000, 1), (1, 30_000)):
        data = encoded(Image.new("RGB", size, RED.colour))
        (shown,) = ask(client, data, "application/json", "?polygons=true").json()["pictures"][0][
            "classes"
        ]
        assert (shown["name"], shown["box"]) == ("red", [0, 0, *size])
        assert coco.decode(shown["rle"]).all()
        assert len(shown["polygons"]) == 1
        for accept in ("application/x-npz", "image/png; profile=confidence"):
            ask(client, data, accept, "?legend=true")
        too_long = client.post("/segment", content=data, headers={"Accept": "image/webp"})
        assert too_long.status_code == (200 if size == (1, 1) else 406)
