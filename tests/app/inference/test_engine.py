import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.inference.budget import FullError
from app.inference.cutting import Segmented
from app.inference.engine import Inference
from app.inference.exported_graph import EVERYTHING, Graph, GraphError, ModelInput
from app.inference.loaded_graphs import Choice, Exported, Served
from app.inference.tuning import Tuner
from app.settings import Settings
from app.storage import LocalBlobStore
from sats_core.classes import ClassInfo
from sats_core.data.pictures import Resized
from sats_core.data.prediction import Prediction
from tests.app.inference.colour_graph import BACKGROUND, GREEN, RED, write_version

WAIT = 20
PICTURE = Resized(np.full((64, 64, 3), RED.colour, dtype=np.uint8), 64, 64)


class GatedGraph(Graph):
    """A real graph that counts its pictures and stands still while its gate is closed."""

    gate = threading.Event()
    entered = threading.Event()

    def run(self, ready: Sequence[ModelInput], **how: Any) -> list[Prediction]:
        self.entered.set()
        assert self.gate.wait(WAIT)
        return super().run(ready, **how)


def served(path: Path, number: int) -> Served:
    """A version in which red has the channel `number` and the index 10 * number."""
    others = (BACKGROUND, GREEN)[:number]
    red = ClassInfo(10 * number, "red", RED.colour, 0)
    tuner = Tuner(path / "plans", processors=1, lone_threads=1, batch=4)
    graph = GatedGraph(*write_version(path / str(number), (*others, red)), tuner)
    return Served(Exported(number, 1, "default", number, "", "", 1), graph)


@pytest.fixture
def inference(tmp_path: Path) -> Iterator[Inference]:
    GatedGraph.gate.set()
    GatedGraph.entered.clear()
    made = Inference(
        Settings(data_dir=tmp_path, serve_threads=1, serve_queue=32),
        LocalBlobStore(tmp_path / "blobs"),
    )
    yield made
    GatedGraph.gate.set()
    made.close()


async def masks(inference: Inference, version: Served, pictures: int = 1) -> list[Segmented]:
    decodes = [lambda: PICTURE] * pictures
    view = version.graph.view_of(None)
    return await inference.segment(version, decodes, view, EVERYTHING, lambda _, found: found)


def test_pictures_of_two_versions_never_share_a_run(inference: Inference, tmp_path: Path) -> None:
    versions = [served(tmp_path, number) for number in (1, 2)]

    async def ask() -> None:
        GatedGraph.gate.clear()
        tasks = [asyncio.create_task(masks(inference, versions[i % 2])) for i in range(12)]
        await asyncio.to_thread(GatedGraph.entered.wait, WAIT)
        # All but the first wait in the queue, turn and turn about, when the gate opens.
        GatedGraph.gate.set()
        for i, task in enumerate(tasks):
            (found,) = await task
            assert (found.mask == 10 * (i % 2 + 1)).all(), i

    asyncio.run(ask())
    assert inference.load.items == 12
    assert inference.load.runs < 12
    counted = {key: (f.answered, f.run_pictures) for key, f in inference.measures.read().items()}
    assert counted == {("default", 1): (6, 6), ("default", 2): (6, 6)}


def test_a_caller_who_leaves_takes_his_pictures_out_of_the_queue(
    inference: Inference, tmp_path: Path
) -> None:
    version = served(tmp_path, 1)

    async def ask() -> None:
        GatedGraph.gate.clear()
        first = asyncio.create_task(masks(inference, version))
        await asyncio.to_thread(GatedGraph.entered.wait, WAIT)
        leaving = asyncio.create_task(masks(inference, version, 3))
        await asyncio.sleep(0.05)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        GatedGraph.gate.set()
        await first
        await masks(inference, version)

    asyncio.run(ask())
    assert inference.load.items == 2


def test_who_leaves_is_gone_when_what_was_begun_has_ended(
    inference: Inference, tmp_path: Path
) -> None:
    version = served(tmp_path, 1)
    ended = []

    async def ask() -> None:
        GatedGraph.gate.clear()
        leaving = asyncio.create_task(masks(inference, version))
        await asyncio.to_thread(GatedGraph.entered.wait, WAIT)
        for _ in range(2):  # a second time changes nothing
            leaving.cancel()
            await asyncio.sleep(0.05)
            assert not leaving.done()
        GatedGraph.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        ended.append(True)

    asyncio.run(ask())
    assert ended == [True]
    assert inference.load.items == 0  # nothing was run for him


def test_many_pictures_leave_room_for_others_between_two(
    inference: Inference, tmp_path: Path
) -> None:
    version, order = served(tmp_path, 1), list[str]()

    async def ask() -> None:
        GatedGraph.gate.clear()

        async def note(name: str, pictures: int) -> None:
            decodes = [lambda: PICTURE] * pictures
            view = version.graph.view_of(None)
            await inference.segment(
                version, decodes, view, EVERYTHING, lambda *_: order.append(name)
            )

        many = asyncio.create_task(note("many", 12))
        await asyncio.to_thread(GatedGraph.entered.wait, WAIT)
        one = asyncio.create_task(note("one", 1))
        await asyncio.sleep(0.05)
        GatedGraph.gate.set()
        await asyncio.gather(many, one)

    asyncio.run(ask())
    # One lane, four in a run: as many of the twelve are on their way, and one more run may begin.
    assert order.index("one") <= 8


def test_of_pictures_that_fail_every_one_is_told(inference: Inference, tmp_path: Path) -> None:
    version = served(tmp_path, 1)

    def broken(number: int) -> Resized:
        raise KeyError(number)

    async def ask() -> None:
        decodes = [lambda: PICTURE, partial(broken, 1), lambda: PICTURE, partial(broken, 3)]
        view = version.graph.view_of(None)
        with pytest.raises(ExceptionGroup) as told:
            await inference.segment(version, decodes, view, EVERYTHING, lambda *_: None)
        assert [error.args for error in told.value.exceptions] == [(1,), (3,)]

    asyncio.run(ask())


def test_who_gives_up_waiting_for_a_version_does_not_stop_others(
    inference: Inference, tmp_path: Path
) -> None:
    version = served(tmp_path, 1)
    load: Future[Served] = Future()

    async def ask() -> None:
        staying = asyncio.create_task(inference.served(Choice(_missing(), load)))
        giving_up = asyncio.create_task(inference.served(Choice(_missing(), load)))
        await asyncio.sleep(0)
        giving_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await giving_up
        assert not load.cancelled()
        load.set_result(version)
        assert await staying is version

    asyncio.run(ask())


def test_a_version_that_fails_is_answered_by_the_one_before(
    inference: Inference, tmp_path: Path
) -> None:
    before = served(tmp_path, 1)
    load = inference.graphs.pinned(_missing()).load
    assert asyncio.run(inference.served(Choice(_missing(), load, before))) is before
    with pytest.raises(GraphError):
        asyncio.run(inference.served(Choice(_missing(), load)))


def test_places_are_counted(inference: Inference) -> None:
    with inference.reserve(32), pytest.raises(FullError), inference.reserve(1):
        pass
    with inference.reserve(32):
        pass


def _missing() -> Exported:
    return Exported(99, 1, "default", 99, "0" * 64, "0" * 64, 1)
