import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app.inference import loaded_graphs as module
from app.inference.exported_graph import Graph, GraphError
from app.inference.loaded_graphs import Exported, Graphs, graph_loader
from app.inference.tuning import Plan, Tuner
from app.storage import LocalBlobStore
from tests.app.inference.colour_graph import write_version

WAIT = 20


def version(number: int, model: int = 1, size: int = 1) -> Exported:
    return Exported(model * 100 + number, model, f"model-{model}", number, "c", "g", size)


class Loader:
    """Hands out one real graph for every version; waits, or fails, where it is told to."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.loaded: list[int] = []
        self.broken: set[int] = set()
        self.gates: dict[int, threading.Event] = {}

    def __call__(self, exported: Exported) -> Graph:
        gate = self.gates.get(exported.number)
        assert gate is None or gate.wait(WAIT)
        self.loaded.append(exported.number)
        if exported.number in self.broken:
            raise GraphError("broken")
        return self.graph


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return Graph(*write_version(tmp_path_factory.mktemp("version")))


@pytest.fixture
def loader(graph: Graph) -> Loader:
    return Loader(graph)


@pytest.fixture
def graphs(loader: Loader) -> Iterator[Graphs]:
    made = Graphs(loader, spare_bytes=3)
    yield made
    for gate in loader.gates.values():
        gate.set()
    made.close()


def test_the_first_request_waits_and_later_ones_find_it_loaded(
    graphs: Graphs, loader: Loader
) -> None:
    first = graphs.live(version(1))
    assert first.load.result(WAIT).exported.number == 1
    assert graphs.live(version(1)).load.done()
    assert loader.loaded == [1]


def test_how_a_version_is_run_is_told(graphs: Graphs, loader: Loader) -> None:
    loader.gates[2] = threading.Event()
    with capture_logs() as logs:
        graphs.live(version(1)).load.result(WAIT)
    assert [log["plan"] for log in logs] == [{"lone_threads": 1, "batch": 1}]
    graphs.pinned(version(2))
    assert graphs.plans() == {("model-1", 1): Plan()}, "the other one is on its way"


def test_requests_at_once_load_once(graphs: Graphs, loader: Loader) -> None:
    loader.gates[1] = threading.Event()
    choices = [graphs.live(version(1)) for _ in range(5)] + [graphs.pinned(version(1))]
    loader.gates[1].set()
    assert {choice.load.result(WAIT).exported.number for choice in choices} == {1}
    assert loader.loaded == [1]


def test_the_old_version_answers_while_the_new_one_loads(graphs: Graphs, loader: Loader) -> None:
    graphs.live(version(1)).load.result(WAIT)
    loader.gates[2] = threading.Event()
    finder = graphs.live(version(2))
    assert not finder.load.done()
    for _ in range(3):
        meanwhile = graphs.live(version(2))
        assert meanwhile.load.result(0).exported.number == 1
    loader.gates[2].set()
    assert finder.load.result(WAIT).exported.number == 2
    assert graphs.live(version(2)).load.result(0).exported.number == 2


def test_a_roll_back_finds_the_version_still_loaded(graphs: Graphs, loader: Loader) -> None:
    for number in (1, 2, 1):
        graphs.live(version(number)).load.result(WAIT)
    assert graphs.live(version(1)).load.result(0).exported.number == 1
    assert loader.loaded == [1, 2]


def test_a_version_taken_back_while_it_loads_does_not_take_over(
    graphs: Graphs, loader: Loader
) -> None:
    graphs.live(version(1)).load.result(WAIT)
    loader.gates[2] = threading.Event()
    loader.gates[3] = threading.Event()
    finder = graphs.live(version(2))
    assert graphs.live(version(1)).load.result(0).exported.number == 1
    loader.gates[2].set()
    finder.load.result(WAIT)
    assert graphs.live(version(3)).before is not None
    assert graphs.live(version(3)).load.result(0).exported.number == 1


def test_models_do_not_answer_for_each_other(graphs: Graphs, loader: Loader) -> None:
    graphs.live(version(1, model=1)).load.result(WAIT)
    loader.gates[2] = threading.Event()
    choices = [graphs.live(version(2, model=2)) for _ in range(2)]
    assert all(choice.before is None and not choice.load.done() for choice in choices)
    loader.gates[2].set()
    assert {c.load.result(WAIT).exported.model for c in choices} == {"model-2"}


def test_a_pinned_version_is_never_another(graphs: Graphs, loader: Loader) -> None:
    graphs.live(version(1)).load.result(WAIT)
    loader.gates[2] = threading.Event()
    choices = [graphs.pinned(version(2)) for _ in range(2)]
    assert all(choice.before is None and not choice.load.done() for choice in choices)
    loader.gates[2].set()
    assert all(c.load.result(WAIT).exported.number == 2 for c in choices)


def test_a_version_that_cannot_be_loaded_leaves_the_one_before(
    graphs: Graphs, loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs.live(version(1)).load.result(WAIT)
    loader.broken.add(2)
    finder = graphs.live(version(2))
    with pytest.raises(GraphError):
        finder.load.result(WAIT)
    assert finder.before is not None
    assert finder.before.exported.number == 1
    assert graphs.live(version(2)).load.result(0).exported.number == 1
    assert loader.loaded == [1, 2]  # not tried again at once
    loader.broken.clear()
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    assert graphs.live(version(2)).load.result(WAIT).exported.number == 2


def test_without_a_version_before_the_failure_is_told(graphs: Graphs, loader: Loader) -> None:
    loader.broken.add(1)
    for _ in range(2):
        choice = graphs.live(version(1))
        assert choice.before is None
        with pytest.raises(GraphError):
            choice.load.result(WAIT)
    assert loader.loaded == [1]


def test_a_version_that_cannot_be_loaded_takes_no_room(graphs: Graphs, loader: Loader) -> None:
    for number in (1, 2, 3):
        graphs.pinned(version(number)).load.result(WAIT)
    loader.broken.add(4)
    with pytest.raises(GraphError):
        graphs.pinned(version(4, size=3)).load.result(WAIT)
    for number in (1, 2, 3):
        graphs.pinned(version(number)).load.result(WAIT)
    assert loader.loaded == [1, 2, 3, 4]


def test_a_version_that_cannot_be_loaded_is_left_alone_however_often_it_is_asked_for(
    graphs: Graphs, loader: Loader
) -> None:
    loader.broken.add(1)
    for _ in range(3):
        with pytest.raises(GraphError):
            graphs.pinned(version(1, size=9)).load.result(WAIT)  # more than there is room for
    assert loader.loaded == [1]


def test_the_least_used_version_goes_first(graphs: Graphs, loader: Loader) -> None:
    for number in (1, 2, 3, 1, 4):
        graphs.pinned(version(number)).load.result(WAIT)
    assert loader.loaded == [1, 2, 3, 4]
    graphs.pinned(version(1)).load.result(WAIT)
    assert loader.loaded == [1, 2, 3, 4]
    graphs.pinned(version(2)).load.result(WAIT)
    assert loader.loaded == [1, 2, 3, 4, 2]


def test_live_versions_stay_whatever_else_is_asked_for(graphs: Graphs, loader: Loader) -> None:
    for _ in range(3):
        for model in range(1, 7):
            graphs.live(version(1, model)).load.result(WAIT)
        for number in range(2, 12):
            graphs.pinned(version(number)).load.result(WAIT)
    assert loader.loaded.count(1) == 6


def test_the_others_have_so_many_bytes(graphs: Graphs, loader: Loader) -> None:
    for number, size in ((1, 1), (2, 1), (3, 2), (2, 1), (3, 2)):
        graphs.pinned(version(number, size=size)).load.result(WAIT)
    assert loader.loaded == [1, 2, 3]
    graphs.pinned(version(4, size=9)).load.result(WAIT)  # answers, but is not kept
    graphs.pinned(version(4, size=9)).load.result(WAIT)
    assert loader.loaded == [1, 2, 3, 4, 4]


def test_a_version_that_was_live_takes_of_the_rest(graphs: Graphs, loader: Loader) -> None:
    for number in (1, 2):
        graphs.live(version(number, size=4)).load.result(WAIT)
    assert graphs.live(version(2, size=4)).load.done()
    graphs.live(version(1, size=4)).load.result(WAIT)
    assert loader.loaded == [1, 2, 1]  # four bytes are more than the rest may have


def test_a_live_version_does_not_wait_for_those_that_somebody_names(
    graphs: Graphs, loader: Loader
) -> None:
    loader.gates[2] = threading.Event()
    named = graphs.pinned(version(2))
    assert graphs.live(version(1)).load.result(WAIT).exported.number == 1
    assert not named.load.done()


def test_a_version_that_goes_live_overtakes_those_that_somebody_names(
    graphs: Graphs, loader: Loader
) -> None:
    loader.gates[2] = threading.Event()
    named = [graphs.pinned(version(number)) for number in (2, 3, 4)]
    live = graphs.live(version(4))
    assert live.load.result(WAIT).exported.number == 4
    assert named[2].load is live.load
    assert not named[0].load.done()
    loader.gates[2].set()
    assert [choice.load.result(WAIT).exported.number for choice in named] == [2, 3, 4]
    graphs.close()
    assert loader.loaded == [4, 2, 3]  # by one loader only


def test_versions_come_from_blobs_that_are_checked(tmp_path: Path) -> None:
    store = LocalBlobStore(tmp_path / "blobs")
    keys = [store.put_file(path).key for path in write_version(tmp_path / "version")]
    tuner = Tuner(tmp_path / "plans", processors=1, lone_threads=1, batch=1)
    load = graph_loader(store, tuner, window=1024)
    exported = Exported(1, 1, "default", 1, *keys, 1)
    assert load(exported).config.size == 64
    path = store.path(keys[1])
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(GraphError, match="damaged"):
        load(exported)
    store.delete(keys[0])
    with pytest.raises(GraphError, match="missing"):
        load(exported)
