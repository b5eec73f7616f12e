import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from app.inference.budget import FullError
from app.inference.engine import Inference
from app.inference.exported_graph import Graph, GraphError, ModelInput
from app.inference.loaded_graphs import Choice, Exported, Served
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

    def run(self, views: Sequence[ModelInput]) -> list[Prediction]:
        self.entered.set()
        assert self.gate.wait(WAIT)
        return super().run(views)


def served(path: Path, number: int) -> Served:
    """A version in which red has the channel `number` and the index 10 * number."""
    others = (BACKGROUND, GREEN)[:number]
    red = ClassInfo(10 * number, "red", RED.colour, 0)
    graph = GatedGraph(*write_version(path / str(number), (*others, red)), threads=1)
    return Served(Exported(number, 1, "default", number, "", "", 1), graph)


@pytest.fixture
def inference(tmp_path: Path) -> Iterator[Inference]:
    GatedGraph.gate.set()
    GatedGraph.entered.clear()
    made = Inference(
        Settings(data_dir=tmp_path, serve_threads=1, serve_batch=4, serve_queue=32),
        LocalBlobStore(tmp_path / "blobs"),
    )
    yield made
    GatedGraph.gate.set()
    made.close()


def test_pictures_of_two_versions_never_share_a_run(inference: Inference, tmp_path: Path) -> None:
    versions = [served(tmp_path, number) for number in (1, 2)]

    async def ask() -> None:
        GatedGraph.gate.clear()
        tasks = [
            asyncio.create_task(inference.segment(versions[i % 2], [PICTURE])) for i in range(12)
        ]
        await asyncio.to_thread(GatedGraph.entered.wait, WAIT)
        # All but the first wait in the queue, turn and turn about, when the gate opens.
        await _prepared(inference)
        GatedGraph.gate.set()
        for i, task in enumerate(tasks):
            (found,) = await task
            assert (found.mask == 10 * (i % 2 + 1)).all(), i

    asyncio.run(ask())
    assert inference.load.items == 12
    assert inference.load.batches < 12


async def _prepared(inference: Inference) -> None:
    """Wait until the one thread that prepares pictures has done what came before."""
    await inference.in_thread(lambda: None)
    await asyncio.sleep(0.05)


def test_a_caller_who_leaves_takes_his_pictures_out_of_the_queue(
    inference: Inference, tmp_path: Path
) -> None:
    version = served(tmp_path, 1)

    async def ask() -> None:
        GatedGraph.gate.clear()
        first = asyncio.create_task(inference.segment(version, [PICTURE]))
        await asyncio.to_thread(GatedGraph.entered.wait, WAIT)
        leaving = asyncio.create_task(inference.segment(version, [PICTURE] * 3))
        await asyncio.sleep(0)
        await _prepared(inference)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        GatedGraph.gate.set()
        await first
        await inference.segment(version, [PICTURE])

    asyncio.run(ask())
    assert inference.load.items == 2


def test_who_leaves_ends_his_work_early_and_is_gone_when_it_has_ended(
    inference: Inference,
) -> None:
    begun, left, done = threading.Event(), threading.Event(), list[str]()

    def work() -> None:
        begun.set()
        assert left.wait(WAIT)
        done.append("first")

    async def ask() -> None:
        first = asyncio.create_task(inference.in_thread(work, left.set))
        await asyncio.to_thread(begun.wait, WAIT)
        waiting = asyncio.create_task(inference.in_thread(lambda: done.append("second")))
        await asyncio.sleep(0)
        for leaving in (waiting, first):
            leaving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaving
            assert done == ([] if leaving is waiting else ["first"])

    asyncio.run(ask())


def test_who_gives_up_waiting_for_a_version_does_not_stop_others(
    inference: Inference, tmp_path: Path
) -> None:
    version = served(tmp_path, 1)
    load: Future[Served] = Future()

    async def ask() -> None:
        staying = asyncio.create_task(inference.served(Choice(load)))
        giving_up = asyncio.create_task(inference.served(Choice(load)))
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
    assert asyncio.run(inference.served(Choice(load, before))) is before
    with pytest.raises(GraphError):
        asyncio.run(inference.served(Choice(load)))


def test_places_are_counted(inference: Inference) -> None:
    with inference.reserve(32), pytest.raises(FullError), inference.reserve(1):
        pass
    with inference.reserve(32):
        pass


def _missing() -> Exported:
    return Exported(99, 1, "default", 99, "0" * 64, "0" * 64, 1)
