"""What runs graphs: one contract, whatever runs them."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from app.inference.exported_graph import Graph, GraphError
from app.inference.logits_graph import form_of, logits_graph
from app.inference.openvino_sessions import OpenVinoSessions
from app.inference.sessions import PROVIDERS, Floats, Sessions, name_on
from app.inference.tuning import Tuner, measure
from app.main import create_app
from app.settings import Settings
from tests.app.inference.colour_graph import CLASSES, write_version
from tests.app.segmentation.conftest import Register, register
from tests.app.segmentation.requests import encoded, left_red_right_green, mask_of

__all__ = ["register"]


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return write_version(tmp_path / "version")[1]


def pictures(count: int, height: int = 32, width: int = 64) -> Floats:
    drawn = np.random.default_rng(count).normal(size=(count, 3, height, width))
    return drawn.astype(np.float32)


class SessionsContract:
    """What every kind of sessions does."""

    kind: type[Sessions]

    def test_logits_are_those_of_the_graph(self, graph: Path) -> None:
        shown = pictures(3)
        whole = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        (expected,) = whole.run(["logits"], {"pixel_values": shown})
        sessions = self.kind(graph, side_by_side=2)
        for threads in (1, 2):
            found = sessions.logits(shown, threads)
            assert found.shape == (3, len(CLASSES), 8, 16)
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)

    def test_threads_side_by_side_get_their_own_answers(self, graph: Path) -> None:
        sessions = self.kind(graph, side_by_side=3)
        several = [pictures(1 + n % 3, 32, 32 * (1 + n % 2)) for n in range(24)]
        expected = [Sessions(graph).logits(shown, 1) for shown in several]
        with ThreadPoolExecutor(3) as pool:
            found = list(pool.map(lambda shown: sessions.logits(shown, 1), several))
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-3)

    def test_what_is_not_kept_is_closed(self, graph: Path) -> None:
        sessions = self.kind(graph)
        first, second = sessions.session(1), sessions.session(2)
        sessions.keep({2})
        assert sessions.session(2) is second
        assert sessions.session(1) is not first

    def test_it_can_be_measured(self, graph: Path) -> None:
        measured = measure(self.kind(graph), pictures(1)[0], processors=2)
        assert measured.wide is not None
        assert measured.wide > 0

    def test_a_file_that_is_no_graph_is_refused(self, tmp_path: Path) -> None:
        config, graph = write_version(tmp_path / "broken")
        graph.write_bytes(b"not a graph")
        with pytest.raises(GraphError, match="cannot be loaded"):
            Graph(config, graph, Tuner(tmp_path, 1, lone_threads=1, batch=1, kind=self.kind))


class TestOnnxRuntime(SessionsContract):
    kind = Sessions


class TestOpenVino(SessionsContract):
    kind = OpenVinoSessions


class OnGpu(Sessions):
    """As where a package with CUDA is installed, but nothing that it needs."""

    providers: ClassVar = list(PROVIDERS)
    name = name_on(PROVIDERS[0])


def test_a_gpu_that_cannot_be_used_is_told(graph: Path) -> None:
    shown = pictures(1)
    sessions = OnGpu(graph)
    with capture_logs() as logs, pytest.warns(UserWarning, match="CUDAExecutionProvider"):
        found = sessions.logits(shown, 1)
    assert [log["event"] for log in logs] == ["graph_not_on_gpu"]
    assert logs[0]["runs_on"] == ["CPUExecutionProvider"]
    assert sessions.name == name_on("CPUExecutionProvider"), "what is measured is not the GPU's"
    np.testing.assert_array_equal(found, Sessions(graph).logits(shown, 1))


def test_what_is_made_of_logits_is_not_computed(graph: Path) -> None:
    cut = logits_graph(graph)
    assert [output.name for output in cut.graph.output] == ["logits"]
    assert [node.op_type for node in cut.graph.node] == ["AveragePool", "Conv"]


@pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
def test_masks_are_the_same_on_either(settings: Settings, register: Register) -> None:
    register()
    masks = []
    for runtime in ("onnxruntime", "openvino"):
        app = create_app(settings.model_copy(update={"serve_runtime": runtime}))
        with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000)) as client:
            masks.append(mask_of(client, encoded(left_red_right_green())))
    assert (masks[0] == masks[1]).all()


def test_a_runtime_that_is_not_installed_is_told_at_the_start(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "app.inference.openvino_sessions", None)
    app = create_app(settings.model_copy(update={"serve_runtime": "openvino"}))
    with pytest.raises(ImportError, match=r"\.\[openvino\]"), TestClient(app):
        pass


def two_layers(classes: int, width: int = 7) -> onnx.ModelProto:
    """Return a graph that has sides of 3 and 7 before its classifier, as SegFormers do."""
    shapes = {
        "patches": (width, 3, 7, 7),
        "norm": (width,),
        "rows": (classes, width, 1, 1),
        "bias": (classes,),
    }
    weights = [numpy_helper.from_array(np.ones(s, np.float32), n) for n, s in shapes.items()]
    nodes = [
        helper.make_node("Conv", ["pixel_values", "patches", "norm"], ["seen"]),
        helper.make_node("Conv", ["seen", "rows", "bias"], ["logits"]),
    ]
    taken = helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["b", 3, "h", "w"])
    given = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", classes, "i", "j"])
    return helper.make_model(helper.make_graph(nodes, "two", [taken], [given], weights))


@pytest.mark.parametrize("classes", [3, 4, 7])
def test_a_class_more_is_no_other_form(classes: int) -> None:
    assert form_of(two_layers(classes)) == form_of(two_layers(2))
    assert form_of(two_layers(classes, width=8)) != form_of(two_layers(2))
