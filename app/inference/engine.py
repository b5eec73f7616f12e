"""Pictures to answers: the graphs, and the lanes on which pictures are segmented."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from contextvars import copy_context
from typing import Any, TypeVar

from app.inference.budget import Budget, Share
from app.inference.cutting import Cut, Segmented
from app.inference.exported_graph import GraphError, ModelInput
from app.inference.lanes import ClosedError, Lanes, Load
from app.inference.loaded_graphs import Choice, Graphs, Served, graph_loader
from app.inference.measures import Measures, Stages
from app.inference.ready_graphs import ReadyGraphs
from app.inference.tuning import Tuner, processors, sessions_on
from app.inference.works import Work
from app.settings import Settings
from app.storage import BlobStore
from sats_core.data.pictures import Resized
from sats_core.data.prediction import Prediction
from sats_core.data.transforms import View

T = TypeVar("T")
SMALL_WORKS = 2
"""Threads for what takes no lane."""


class Inference:
    """Everything that a process needs to segment pictures; one for the whole process.

    The same lanes serve all versions, so that their runs never fight for processors.

    Attributes:
        graphs: the loaded versions.
        lanes: the threads that segment.
        memory: bytes that the pictures of unanswered requests may take.
        measures: what is counted of them.
    """

    def __init__(self, settings: Settings, blobs: BlobStore) -> None:
        # All of them in each of several processes, too: which one a connection ends at is chance.
        lanes = settings.serve_threads or processors()
        tuner = Tuner(
            settings.plans_dir,
            processors=processors(),
            lanes=lanes,
            lone_threads=settings.serve_lone_threads,
            batch=settings.serve_batch,
            kind=sessions_on(settings.serve_runtime),
            ready=ReadyGraphs.of(settings, blobs),
        )
        load = graph_loader(blobs, tuner, settings.serve_window)
        self.graphs = Graphs(load, settings.serve_graph_bytes)
        self.lanes = Lanes(lanes, places=settings.serve_queue)
        self.memory = Budget(settings.serve_bytes)
        self.measures = Measures()
        self._small = ThreadPoolExecutor(SMALL_WORKS, thread_name_prefix="small-works")

    @property
    def load(self) -> Load:
        """What was run so far, and how many pictures may still come."""
        return self.lanes.load

    def reserve(self, pictures: int) -> AbstractContextManager[Share]:
        """Hold places for pictures from before they come until they are answered.

        Raises:
            FullError: not so many are free.
        """
        return self.lanes.reserve(pictures)

    async def served(self, choice: Choice) -> Served:
        """Wait for the version that answers.

        Raises:
            GraphError: it cannot be loaded, and none was live before.
        """
        try:
            if choice.load.done():
                return choice.load.result()
            # Shielded: who gives up waiting must not cancel a load that others wait for.
            return await asyncio.shield(asyncio.wrap_future(choice.load))
        except GraphError:
            if choice.before is None:
                raise
            return choice.before

    async def segment(
        self,
        served: Served,
        pictures: Sequence[Callable[[], Resized]],
        view: View,
        how: Cut,
        deliver: Callable[[int, Segmented], T],
    ) -> list[T]:
        """Segment pictures and make of each what is wanted; in their order.

        Each goes through all its stages on one lane. As many of one call are on their way as there
        are lanes to take them: between two, others have their turn. Cancelled, it takes back what
        has not begun and waits for the end of what has: until then the memory that was held for it
        is in use.

        Args:
            served: who answers.
            pictures: each gives a picture at the size at which `view` shows it.
            view: how pictures are shown to the version.
            how: how masks are cut.
            deliver: makes of a picture, by its number, and its mask what is returned.

        Raises:
            ExceptionGroup: of what went wrong with pictures, in their order.
            ClosedError: the service is being stopped.
        """
        room = asyncio.Semaphore(len(self.lanes) * served.graph.most)

        async def one(number: int, decode: Callable[[], Resized]) -> T:
            async with room:
                work = _Segmenting(
                    served, decode, view, how, lambda found: deliver(number, found), self.measures
                )
                return await outcome(self.lanes.submit(work), work.leave)

        if len(pictures) == 1:  # as most requests have: no task for it
            return _all_or_none([await _caught(one(0, pictures[0]))])
        ones = (one(number, decode) for number, decode in enumerate(pictures))
        return _all_or_none(await asyncio.gather(*ones, return_exceptions=True))

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Do work that takes little time, but may not be done on the event loop.

        Cancelled, it ends as `segment` does.
        """
        return await outcome(self._small.submit(work))

    def close(self) -> None:
        """End every thread; whoever still waits gets an error."""
        self.lanes.close()
        self.graphs.close()
        self._small.shutdown(cancel_futures=True)


class _Segmenting(Work[ModelInput, Prediction, T]):
    """One picture on its way to an answer."""

    def __init__(
        self,
        served: Served,
        decode: Callable[[], Resized],
        view: View,
        how: Cut,
        deliver: Callable[[Segmented], T],
        measures: Measures,
    ) -> None:
        super().__init__(served.graph)
        self._served = served
        self._decode = decode
        self._view = view
        self._how = how
        self._deliver = deliver
        self._measures = measures
        self._context = copy_context()  # of the request: its spans lie there
        self._size = (0, 0)

    def prepare(self) -> ModelInput:
        picture = self._decode()
        self._size = picture.height, picture.width
        return self._served.graph.normalised(picture.pixels, self._view)

    def finish(self, raw: Prediction) -> T:
        found = self._served.graph.segmented(raw, *self._size, self._how, lambda: self.left)
        return self._deliver(found)

    def ran(self, pictures: int) -> None:
        exported = self._served.exported
        self._measures.ran(exported.model, exported.number, pictures)

    def measured(self, stages: Stages) -> None:
        exported = self._served.exported
        self._context.run(self._measures.answered, exported.model, exported.number, stages)


async def _caught(doing: Coroutine[Any, Any, T]) -> T | Exception:
    try:
        return await doing
    except Exception as error:  # noqa: BLE001 - as `gather` does it
        return error


def _all_or_none(outcomes: Sequence[T | BaseException]) -> list[T]:
    """Return all results.

    Raises:
        ExceptionGroup: there are errors instead.
        ClosedError, CancelledError: one of them says nothing about a picture.
    """
    errors = [one for one in outcomes if isinstance(one, BaseException)]
    for error in errors:
        if isinstance(error, ClosedError) or not isinstance(error, Exception):
            raise error
    if errors:
        raise ExceptionGroup("pictures", [one for one in errors if isinstance(one, Exception)])
    return [one for one in outcomes if not isinstance(one, BaseException)]


async def outcome(doing: "Future[T]", on_leaving: Callable[[], None] = lambda: None) -> T:
    """Wait for what work gives; cancelled, until it has ended or was never begun."""
    try:
        return await asyncio.wrap_future(doing)
    except asyncio.CancelledError:
        on_leaving()
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def tell(_: object) -> None:
            with suppress(RuntimeError):  # the loop has ended: nobody waits
                loop.call_soon_threadsafe(ended.set)

        doing.add_done_callback(tell)
        while not ended.is_set():
            with suppress(asyncio.CancelledError):  # once is enough
                await ended.wait()
        raise
