"""Pictures to masks: the graphs, the batcher and the threads that prepare and finish."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from typing import TypeVar

from app.inference.batcher import Batcher, Load
from app.inference.budget import Budget, Share
from app.inference.cutting import Cut, Segmented
from app.inference.exported_graph import EVERYTHING, GraphError, ModelInput
from app.inference.loaded_graphs import Choice, Graphs, Served, graph_loader
from app.inference.measures import Measures
from app.settings import Settings
from app.storage import BlobStore
from sats_core.data.pictures import Resized
from sats_core.data.prediction import Prediction

T = TypeVar("T")


class Inference:
    """Everything that a process needs to segment pictures; one for the whole process.

    One batcher serves all versions, so that their runs never fight for the same threads.

    Attributes:
        graphs: the loaded versions.
        memory: bytes that the pictures of unanswered requests may take.
        measures: what is counted of them.
    """

    def __init__(self, settings: Settings, blobs: BlobStore) -> None:
        self.graphs = Graphs(
            graph_loader(blobs, settings.serve_threads), settings.serve_graph_bytes
        )
        self._batcher: Batcher[tuple[Served, ModelInput], Prediction] = Batcher(
            _run, _key_of, most=settings.serve_batch, places=settings.serve_queue
        )
        self.memory = Budget(settings.serve_bytes)
        self.measures = Measures()
        self._pool = ThreadPoolExecutor(settings.serve_threads, thread_name_prefix="pictures")

    @property
    def load(self) -> Load:
        """What was run so far, and how many pictures may still come."""
        return self._batcher.load

    def reserve(self, pictures: int) -> AbstractContextManager[Share]:
        """Hold places for pictures from before they come until they are answered.

        Raises:
            FullError: not so many are free.
        """
        return self._batcher.reserve(pictures)

    async def served(self, choice: Choice) -> Served:
        """Wait for the version that answers.

        Raises:
            GraphError: it cannot be loaded, and none was live before.
        """
        try:
            # Shielded: who gives up waiting must not cancel a load that others wait for.
            return await asyncio.shield(asyncio.wrap_future(choice.load))
        except GraphError:
            if choice.before is None:
                raise
            return choice.before

    async def segment(
        self, served: Served, pictures: Sequence[Resized], how: Cut = EVERYTHING
    ) -> list[Segmented]:
        """Segment pictures, each at the size at which the version sees it; answers are in order."""
        ones = (self._one(served, picture, how) for picture in pictures)
        return list(await asyncio.gather(*ones))

    async def in_thread(
        self, work: Callable[[], T], on_leaving: Callable[[], None] = lambda: None
    ) -> T:
        """Do work that keeps a processor busy, on the few threads meant for it.

        Cancelled, it takes back what has not begun and waits for the end of what has: until then
        the memory that was held for it is in use.

        Args:
            work: what is done.
            on_leaving: called when nobody wants its result any more, so that it can end early.
        """
        doing = self._pool.submit(work)
        try:
            return await asyncio.wrap_future(doing)
        except asyncio.CancelledError:
            on_leaving()
            await _ended(doing)
            raise

    def close(self) -> None:
        """End every thread; whoever still waits gets an error."""
        self._batcher.close()
        self.graphs.close()
        self._pool.shutdown(cancel_futures=True)

    async def _one(self, served: Served, picture: Resized, how: Cut) -> Segmented:
        graph = served.graph
        view = await self.in_thread(lambda: graph.normalised(picture.pixels))
        prediction = await asyncio.wrap_future(self._batcher.submit((served, view)))
        left = threading.Event()
        size = picture.height, picture.width
        whole = partial(graph.segmented, prediction, *size, how, left.is_set)
        return await self.in_thread(whole, left.set)


async def _ended(doing: "Future[T]") -> None:
    """Wait until work is done or was never begun, whatever came of it."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    doing.add_done_callback(lambda _: loop.call_soon_threadsafe(ended.set))
    await ended.wait()


def _key_of(item: tuple[Served, ModelInput]) -> tuple[int, tuple[int, ...]]:
    served, view = item
    return id(served.graph), view.pixels.shape


def _run(items: Sequence[tuple[Served, ModelInput]]) -> list[Prediction]:
    graph = items[0][0].graph
    return graph.run([view for _, view in items])
