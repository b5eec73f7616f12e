"""How a graph is run: measured once, kept, and what the settings say first."""

import json
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from structlog.testing import capture_logs

from app.inference import tuning
from app.inference.exported_graph import Graph
from app.inference.sessions import Sessions
from app.inference.tuning import Measured, Plan, Tuner, measure, processors
from tests.app.inference.colour_graph import CLASSES, write_version

SAMPLE = np.zeros((3, 64, 64), dtype=np.float32)


@pytest.fixture
def sessions(tmp_path: Path) -> Sessions:
    _, graph = write_version(tmp_path / "version")
    return Sessions(graph)


@pytest.mark.parametrize(
    ("measured", "plan"),
    [
        (Measured(10, None, {}), Plan()),
        (Measured(10, 9.0, {2: 9.0}), Plan()),  # not clearly
        (Measured(10, 6.0, {2: 11.0}), Plan(lone_threads=4)),
        (Measured(10, 12.0, {2: 6.0, 4: 4.0, 8: 5.0}), Plan(batch=4)),
        (Measured(10, 5.0, {2: 6.0}), Plan(lone_threads=4, batch=2)),
    ],
)
def test_another_way_is_taken_where_it_is_clearly_faster(measured: Measured, plan: Plan) -> None:
    assert measured.plan(4) == plan


def test_every_way_is_measured(sessions: Sessions) -> None:
    measured = measure(sessions, SAMPLE, processors=2)
    assert measured.one > 0
    assert measured.wide is not None
    assert 2 in measured.batches
    assert measure(sessions, SAMPLE, processors=1).wide is None


class Disturbed:
    """Sessions whose wide runs take long while another process has one of the processors."""

    def __init__(self, narrow: float, wide: Iterator[float]) -> None:
        self.now, self.narrow, self.wide = 0.0, narrow, wide
        self.runs = 0

    def clock(self) -> float:
        return self.now

    def logits(self, pixels: NDArray[np.float32], threads: int) -> NDArray[np.float32]:
        self.runs += threads > 1
        self.now += self.narrow if threads == 1 else next(self.wide)
        return pixels


@pytest.mark.parametrize(
    ("wide", "found", "runs"),
    [
        (chain([0.1], repeat(0.02)), 20.0, 6),  # at once: tried as often as anything
        (chain([0.1] * 4, repeat(0.02)), 20.0, 5),
        (repeat(0.125), 125.0, 5),  # never: half a second, after one run that sets up
    ],
)
def test_what_needs_all_processors_is_tried_with_patience(
    wide: Iterator[float], found: float, runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    disturbed = Disturbed(0.0625, wide)
    monkeypatch.setattr(tuning, "time", SimpleNamespace(perf_counter=disturbed.clock))
    measured = measure(cast(Sessions, disturbed), SAMPLE, processors=2)
    assert (measured.one, measured.wide, disturbed.runs) == (62.5, found, runs)


def test_a_plan_is_measured_once(
    sessions: Sessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Measured] = []

    def measured(*_: object) -> Measured:
        calls.append(Measured(10, 5.0, {}))
        return calls[-1]

    monkeypatch.setattr(tuning, "measure", measured)
    tuner = Tuner(tmp_path / "plans", processors=3)
    with capture_logs() as logs:
        assert tuner.plan(sessions, "kind", SAMPLE) == Plan(lone_threads=3)
    assert [log["event"] for log in logs] == ["graph_measured"]
    assert logs[0]["plan"] == {"lone_threads": 3, "batch": 1}
    assert tuner.plan(sessions, "kind", SAMPLE) == Plan(lone_threads=3)
    assert len(calls) == 1
    # What it depends on has changed.
    for other in (Tuner(tuner.folder, processors=4), tuner):
        other.plan(sessions, "kind", SAMPLE[:, :32] if other is tuner else SAMPLE)
    assert len(calls) == 3


@pytest.mark.parametrize("kept", [b"", b"[]", b"{}", b'{"there": 3}', b"\xff"])
def test_what_cannot_be_read_is_measured_again(
    sessions: Sessions, tmp_path: Path, kept: bytes
) -> None:
    tuner = Tuner(tmp_path, processors=1)
    (tmp_path / "kind.json").write_bytes(kept)
    plan = tuner.plan(sessions, "kind", SAMPLE)
    written = json.loads((tmp_path / "kind.json").read_bytes())
    assert plan.model_dump() in written.values()
    if b"there" in kept:
        assert written["there"] == 3  # another machine's


def test_plans_at_several_sizes_are_kept_side_by_side(
    sessions: Sessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def measured(_: object, sample: NDArray[np.float32], processors: int) -> Measured:
        calls.append(sample.shape[1])
        return Measured(10, 5.0, {})

    monkeypatch.setattr(tuning, "measure", measured)
    for _ in range(2):
        for size in (32, 64):
            Tuner(tmp_path, processors=2).plan(sessions, "kind", SAMPLE[:, :size])
    assert calls == [32, 64]


def resized(model: onnx.ModelProto) -> None:
    """Pool twice as wide, at half the steps: the same operators with other settings."""
    pool = model.graph.node[0]
    del pool.attribute[:]
    pool.attribute.append(helper.make_attribute("kernel_shape", [8, 8]))


def rectified(model: onnx.ModelProto) -> None:
    """Add an operator before the logits."""
    model.graph.node[1].output[0] = "signed"
    model.graph.node.insert(2, helper.make_node("Relu", ["signed"], ["logits"]))


def reweighted(model: onnx.ModelProto) -> None:
    """Learn other weights."""
    weights = model.graph.initializer[0]
    weights.CopyFrom(numpy_helper.from_array(2 * numpy_helper.to_array(weights), weights.name))


@pytest.mark.parametrize(
    ("change", "measured"), [(resized, 2), (rectified, 2), (reweighted, 1), (None, 1)]
)
def test_a_graph_of_another_form_has_a_plan_of_its_own(
    change: Callable[[onnx.ModelProto], None] | None,
    measured: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[object] = []

    def counted(*_: object) -> Measured:
        calls.append(None)
        return Measured(10, 5.0, {})

    monkeypatch.setattr(tuning, "measure", counted)
    tuner = Tuner(tmp_path / "plans", processors=2)
    # One that learned a class more is as fast.
    for number, classes in enumerate((CLASSES[:2], CLASSES)):
        config, graph = write_version(tmp_path / str(number), classes)
        if number and change:
            model = onnx.load(graph)
            change(model)
            onnx.save(model, graph)
        assert Graph(config, graph, tuner).plan == Plan(lone_threads=2)
    assert len(calls) == measured


def test_a_folder_that_cannot_be_written_keeps_nobody_from_serving(
    sessions: Sessions, tmp_path: Path
) -> None:
    (tmp_path / "plans").write_text("no folder")
    with capture_logs() as logs:
        Tuner(tmp_path / "plans", processors=1).plan(sessions, "kind", SAMPLE)
    assert "plan_not_kept" in [log["event"] for log in logs]


def test_settings_come_first(
    sessions: Sessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "measure", lambda *_: Measured(10, 5.0, {2: 4.0}))
    folder = tmp_path / "plans"
    assert Tuner(folder, 2, batch=8).plan(sessions, "a", SAMPLE) == Plan(lone_threads=2, batch=8)
    five = Tuner(folder, 2, lone_threads=5)
    assert five.plan(sessions, "a", SAMPLE) == Plan(lone_threads=5, batch=2)
    monkeypatch.setattr(tuning, "measure", None)
    assert Tuner(folder, 2, lone_threads=1, batch=1).plan(sessions, "b", SAMPLE) == Plan()


@pytest.mark.parametrize(
    ("limit", "allowed"), [("max 100000", 8), ("150000 100000", 2), ("50000 100000", 1), ("", 8)]
)
def test_a_containers_limit_counts(
    limit: str, allowed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpu.max").write_text(limit)
    monkeypatch.setattr(tuning, "CPU_LIMIT", tmp_path / "cpu.max")
    monkeypatch.setattr(tuning.os, "sched_getaffinity", lambda _: set(range(8)))
    assert processors() == allowed
