import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.inference.exported_graph import Graph, GraphError
from app.inference.sessions import Floats, Sessions
from app.inference.tuning import Plan, Tuner
from sats_core.data.transforms import Pixels
from tests.app.inference.colour_graph import (
    BACKGROUND,
    BLUE,
    CLASSES,
    GREEN,
    MEAN,
    RED,
    STD,
    colour_graph,
    write_version,
)
from tests.fixtures.examples import examples


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return Graph(*write_version(tmp_path_factory.mktemp("version")))


def quarters(side: int) -> tuple[Pixels, Pixels]:
    """A picture of four colours and its mask."""
    half = side // 2
    mask = np.zeros((side, side), dtype=np.uint8)
    mask[:half, half:], mask[half:, :half], mask[half:, half:] = RED.index, GREEN.index, BLUE.index
    colours = np.zeros((256, 3), dtype=np.uint8)
    for info in CLASSES:
        colours[info.index] = info.colour
    return colours[mask], mask


def segmented(graph: Graph, picture: Pixels) -> Pixels:
    prediction = graph.run([graph.view(picture)])[0]
    return graph.segmented(prediction, *picture.shape[:2]).mask


def test_classes_are_found_at_the_pictures_own_size(graph: Graph) -> None:
    for side in (32, 64, 200, 640):
        picture, mask = quarters(side)
        found = segmented(graph, picture)
        assert found.shape == mask.shape
        assert (found == mask).mean() > 0.93, side


def test_a_view_is_normalised_and_padded_with_zeros(graph: Graph) -> None:
    picture = np.full((30, 50, 3), (10, 120, 250), dtype=np.uint8)
    view = graph.view(picture)
    assert (view.height, view.width) == (38, 64)
    assert view.pixels.shape == (3, 64, 64)
    assert view.pixels.dtype == np.float32
    expected = (np.array([10, 120, 250]) / 255 - MEAN) / STD
    np.testing.assert_allclose(view.pixels[:, :38, :64].mean(axis=(1, 2)), expected, rtol=1e-5)
    assert not view.pixels[:, 38:].any()


def test_a_view_may_be_stretched(tmp_path: Path) -> None:
    config, onnx = write_version(tmp_path)
    said = json.loads(config.read_text()) | {"view": {"stretch": [40, 72]}}
    config.write_text(json.dumps({"id2label": {}, "sats": said}))  # as a Hugging Face model's
    stretched = Graph(config, onnx)
    for height, width in ((40, 72), (100, 30), (7, 300)):
        picture = np.full((height, width, 3), GREEN.colour, dtype=np.uint8)
        view = stretched.view(picture)
        assert view.pixels.shape == (3, 40, 72)
        assert (view.height, view.width) == (40, 72)
        mask = segmented(stretched, picture)
        assert mask.shape == (height, width)
        assert (mask == GREEN.index).all()


def test_scores_are_of_the_classes_shown(graph: Graph) -> None:
    picture, _ = quarters(64)
    found = graph.segmented(graph.run([graph.view(picture)])[0], 64, 64)
    assert set(found.scores) == {0, 1, 2, 7}
    assert all(0.5 < score <= 1 for score in found.scores.values())


def test_a_batch_gives_what_each_picture_gives_alone(graph: Graph) -> None:
    rng = np.random.default_rng(0)
    # Different pictures of one padded shape.
    views = [graph.view(rng.integers(0, 256, (h, 64, 3), dtype=np.uint8)) for h in (40, 50, 64)]
    for together, view in zip(graph.run(views), views, strict=True):
        alone = graph.run([view])[0]
        assert (together.rows, together.columns) == (view.height / 4, view.width / 4)
        np.testing.assert_allclose(together.logits, alone.logits, rtol=1e-5)


@settings(max_examples=examples(40), deadline=None)
@given(height=st.integers(1, 300), width=st.integers(1, 300))
def test_any_size_comes_back(graph: Graph, height: int, width: int) -> None:
    picture = np.full((height, width, 3), GREEN.colour, dtype=np.uint8)
    prediction = graph.run([graph.view(picture)])[0]
    found = graph.segmented(prediction, height, width)
    assert found.mask.shape == (height, width)
    assert set(np.unique(found.mask)) == set(found.scores)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (2, 5000)])
def test_odd_sizes(graph: Graph, shape: tuple[int, int]) -> None:
    picture = np.full((*shape, 3), RED.colour, dtype=np.uint8)
    assert segmented(graph, picture).shape == shape


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", b"", "cannot be loaded"),
        ("config.json", b'{"size": 64}', "image_mean"),
        ("model.onnx", b"", "cannot be loaded"),
        ("model.onnx", b"not a graph", "cannot be loaded"),
        ("model.onnx", colour_graph((BACKGROUND, RED)).SerializeToString(), "2 channels for 4"),
        ("model.onnx", None, "cannot be loaded"),
    ],
)
def test_a_broken_version_is_refused(
    file: str, content: bytes | None, message: str, tmp_path: Path
) -> None:
    config, onnx = write_version(tmp_path)
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(GraphError, match=message):
        Graph(config, onnx)


def test_a_graph_without_logits_is_refused(tmp_path: Path) -> None:
    config, onnx = write_version(tmp_path)
    model = colour_graph(CLASSES)
    del model.graph.output[0]
    onnx.write_bytes(model.SerializeToString())
    with pytest.raises(GraphError, match="cannot be loaded"):
        Graph(config, onnx)


def test_a_truncated_graph_is_refused(tmp_path: Path) -> None:
    config, onnx = write_version(tmp_path)
    onnx.write_bytes(onnx.read_bytes()[:-200])
    with pytest.raises(GraphError):
        Graph(config, onnx)


@pytest.mark.parametrize(
    ("width", "kind"),
    [(None, "mit_b0-0"), (256, "mit_b0-256"), (288, "mit_b0-512"), (512, "mit_b0-512")],
)
def test_heads_that_a_step_widened_are_of_one_kind(
    tmp_path: Path, width: int | None, kind: str
) -> None:
    kinds = []

    class Told(Tuner):
        def plan(self, sessions: Sessions, kind: str, sample: Floats) -> Plan:
            kinds.append(kind)
            return super().plan(sessions, kind, sample)

    config, graph = write_version(tmp_path)
    told = json.loads(config.read_text()) | {"backbone": "mit_b0", "head_width": width}
    config.write_text(json.dumps(told))
    Graph(config, graph, Told(tmp_path, processors=1, lone_threads=1, batch=1))
    assert kinds == [kind]
