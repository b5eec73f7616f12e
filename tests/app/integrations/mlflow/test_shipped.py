"""The module that is sent along with every model: masks as the service cuts them, and alone."""

import ast
import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from app.inference.exported_graph import Graph
from app.inference.sessions import PROVIDERS
from app.integrations.mlflow import packing, shipped
from sats_core.data.pictures import decode_resized
from tests.app.inference.colour_graph import write_version
from tests.app.segmentation.requests import encoded, left_red_right_green

VIEWS: list[dict[str, Any]] = [{}, {"longest": 96}, {"inside": 90}, {"stretch": [64, 96]}]


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    channels = len(Image.new(mode, (1, 1)).getbands())
    rng = np.random.default_rng((width, height))
    small = rng.integers(0, 256, (5, 7, channels), dtype=np.uint8).squeeze()
    return Image.fromarray(small, mode).resize((width, height), Image.Resampling.BICUBIC)


def served(folder: Path, data: bytes) -> np.ndarray:
    """Return the mask that the service cuts."""
    graph = Graph(folder / "config.json", folder / "model.onnx")
    view = graph.view_of(None)
    seen = decode_resized(data, 10**6, view.shown)
    (prediction,) = graph.run([graph.normalised(seen.pixels, view)])
    return graph.segmented(prediction, seen.height, seen.width).mask


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_version(tmp_path)
    return tmp_path


def test_a_graph_runs_where_the_service_runs_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[list[str]] = []

    def session(path: str, providers: list[str]) -> onnxruntime.InferenceSession:
        taken.append(providers)
        return real(path, providers=["CPUExecutionProvider"])

    real, tensor_rt = onnxruntime.InferenceSession, "TensorrtExecutionProvider"
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [tensor_rt, *PROVIDERS])
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    shipped._load_pyfunc(str(folder))
    assert taken == [list(PROVIDERS)]
    assert shipped.PROVIDERS == PROVIDERS


@pytest.mark.parametrize("view", VIEWS, ids=str)
@pytest.mark.parametrize("size", [(113, 70), (40, 200), (300, 300), (1, 9)], ids=str)
def test_masks_are_those_of_the_service(
    folder: Path, view: dict[str, Any], size: tuple[int, int]
) -> None:
    config = json.loads((folder / "config.json").read_text())
    own = config | ({"view": view} if view else {})
    # As in a Hugging Face directory: ours is one key of its `config.json`.
    (folder / "config.json").write_text(json.dumps({"sats": own}))
    data = encoded(noise(*size))
    (mask,) = shipped._load_pyfunc(str(folder)).predict(data)
    expected = served(folder, data)
    np.testing.assert_array_equal(mask, expected)
    assert mask.dtype == np.uint8
    if min(size) > 9:
        assert len(np.unique(mask)) > 1


@pytest.mark.parametrize(
    "kind", ["turned 6", "turned 3", "turned 7", "transparent", "grey", "palette", "sixteen bits"]
)
def test_pictures_are_read_as_the_service_reads_them(folder: Path, kind: str) -> None:
    options: dict[str, Any] = {}
    if kind.startswith("turned"):
        image = noise(120, 60)
        exif = Image.Exif()
        exif[0x0112] = int(kind.split()[1])
        options["exif"] = exif
    elif kind == "transparent":
        image = noise(120, 60, "RGBA")
    elif kind == "sixteen bits":
        ramp = np.linspace(0, 65535, 120 * 60).astype(np.uint16).reshape(60, 120)
        image = Image.fromarray(ramp)
    else:
        image = noise(120, 60).convert("L" if kind == "grey" else "P")
    data = encoded(image, **options)
    (mask,) = shipped.Segmenter(folder).predict([data])
    expected = served(folder, data)
    np.testing.assert_array_equal(mask, expected)


def test_one_picture_or_several_in_many_forms(folder: Path) -> None:
    segmenter = shipped.Segmenter(folder)
    image = left_red_right_green()
    data, array = encoded(image), np.asarray(image)
    text = base64.b64encode(data).decode()
    (expected,) = segmenter.predict(data)
    assert set(np.unique(expected)) == {1, 2}
    several = ([data, data], [text, image], np.stack([array, array]), {"image": [data, array]})
    for given in (data, text, image, array, *several):
        masks = segmenter.predict(given)
        assert len(masks) == (2 if any(given is one for one in several) else 1)
        for mask in masks:
            np.testing.assert_array_equal(mask, expected)
    assert segmenter.classes[1] == "red"


def test_it_imports_nothing_of_ours() -> None:
    tree = ast.parse(packing.SHIPPED.read_text())
    roots = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [one.name for one in node.names]
        )
    }
    ours = {"base64", "collections", "io", "json", "pathlib", "typing"}
    assert roots - ours == {"numpy", "onnxruntime", "PIL"}
