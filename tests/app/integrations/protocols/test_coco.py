"""The JSON's run lengths as COCO's own tools read them, answer by answer."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco
from starlette.testclient import TestClient

from tests.app.inference.colour_graph import CLASSES
from tests.app.segmentation.conftest import Register
from tests.app.segmentation.requests import encoded

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")  # pycocotools' decode


@pytest.mark.parametrize("size", [(64, 48), (7, 90), (1, 1)])
def test_area_box_and_mask_of_every_class(
    client: TestClient, register: Register, size: tuple[int, int]
) -> None:
    register()
    colours = np.array([c.colour for c in CLASSES], dtype=np.uint8)
    chosen = np.random.default_rng(0).integers(0, len(colours), (5, 4))
    picture = encoded(Image.fromarray(colours[chosen]).resize(size, Image.Resampling.NEAREST))
    png = client.post("/segment", content=picture, headers={"Accept": "image/png"})
    mask = np.array(Image.open(BytesIO(png.content)))
    (said,) = client.post("/segment", content=picture).json()["pictures"]
    shown = [one for one in said["classes"] if one["rle"] is not None]
    assert {one["index"] for one in shown} == set(np.unique(mask)) - {0}
    for one in shown:
        np.testing.assert_array_equal(coco.decode(one["rle"]), mask == one["index"])
        assert coco.area(one["rle"]) == one["pixels"]
        assert coco.toBbox(one["rle"]).tolist() == one["box"]
