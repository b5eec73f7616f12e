"""The same client for programs on an event loop of asyncio."""

from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

import httpx

from sats_client import _calls as calls
from sats_client._async import AsyncDriver
from sats_client._calls import AnyPath, Page
from sats_client._exporting import exported
from sats_client._files import Told
from sats_client._flow import Flow, Persistence
from sats_client._many import OnError, in_order_async
from sats_client._segmenting import Known, answered, segmented
from sats_client._settings import MAX_ANSWER_BYTES, Asked, Sought, http_options
from sats_client.errors import TaskEnded
from sats_client.models import Classes, Move, Overview, Point, Version, Worker
from sats_client.records import TaskRecord
from sats_client.tasks import AsyncTask

if TYPE_CHECKING:
    from sats_client.segmentation import Picture, Segmentation

R = TypeVar("R")
K = TypeVar("K", bound=TaskRecord)


class AsyncClient:
    """A service, over HTTP; each call does what `Client`'s of the same name does.

    Args:
        url: of the service; default: `SATS_URL`, else http://127.0.0.1:8000.
        api_key: default: `SATS_API_KEY`; an empty one is none.
        timeout: seconds for which an answer, or the next bytes of one, are waited for.
        tries: how often a call is sent in all, where sending it again does no harm; None: as often
            as `patience` allows.
        patience: seconds after which a call is not sent again.
        connections: most at once.
        max_answer_bytes: of an answer that is read as a whole; a larger one is a `BadAnswer`.
        transport: of httpx, for certificates and proxies of your own.

    Raises:
        ValueError: the address is none of a service.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 300.0,
        tries: int | None = 5,
        patience: float = inf,
        connections: int = 32,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        options = http_options(url, api_key, timeout, connections)
        self._http = httpx.AsyncClient(**options, transport=transport)
        self._run = AsyncDriver(self._http, Persistence(tries, patience), max_answer_bytes).run
        self._known: Known = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"AsyncClient({str(self._http.base_url)!r})"

    async def aclose(self) -> None:
        """Give the connections back."""
        await self._http.aclose()

    async def submit(
        self,
        dataset: AnyPath,
        *,
        name: str | None = None,
        progress: Told | None = None,
        idempotency_key: str | None = None,
        **spec: Any,
    ) -> AsyncTask:
        """Post labelled pictures of something new; as `Client.submit`."""
        wanted = calls.submission(dataset, name, spec, progress, idempotency_key)
        return await self._bound(calls.posted(AsyncTask, wanted))

    async def import_model(
        self,
        checkpoint: AnyPath,
        *,
        model: str = "default",
        evaluate: AnyPath | None = None,
        progress: Told | None = None,
        idempotency_key: str | None = None,
        source: str | None = None,
        **spec: Any,
    ) -> AsyncTask:
        """Make a version of a SegFormer that was trained elsewhere; as `Client.import_model`."""
        wanted = calls.importing(
            checkpoint, model, evaluate, spec, progress, idempotency_key, source
        )
        return await self._bound(calls.posted(AsyncTask, wanted))

    async def retire(
        self,
        model: str,
        number: int,
        classes: Iterable[str],
        *,
        depth: str,
        dataset: AnyPath | None = None,
        progress: Told | None = None,
        idempotency_key: str | None = None,
        **spec: Any,
    ) -> AsyncTask:
        """Make a version without some of a version's classes; as `Client.retire`."""
        wanted = {"classes": list(classes), "depth": depth, **spec}
        post = calls.retiring(model, number, dataset, wanted, progress, idempotency_key)
        return await self._bound(calls.posted(AsyncTask, post))

    async def task(self, task_id: str) -> AsyncTask:
        """Return a task."""
        return await self._bound(calls.got(AsyncTask, calls.task_path(task_id)))

    async def tasks(self, **wanted: Unpack[Sought]) -> AsyncIterator[AsyncTask]:
        """Yield tasks; as `Client.tasks`."""
        async for task in self._pages(calls.tasks(AsyncTask, wanted)):
            yield self._own(task)

    async def segment(self, picture: "Picture", **wanted: Unpack[Asked]) -> "Segmentation":
        """Say of every pixel of a picture which learned class it shows; as `Client.segment`."""
        return await self._run(segmented(self._known, picture, wanted))

    async def segment_as(self, picture: "Picture", form: str, **wanted: Unpack[Asked]) -> bytes:
        """Return what the service answers of a picture as it is; as `Client.segment_as`."""
        return await self._run(answered(picture, form, wanted))

    def segment_many(
        self,
        pictures: Iterable["Picture"],
        *,
        concurrency: int = 4,
        on_error: OnError | None = None,
        **wanted: Unpack[Asked],
    ) -> AsyncIterator["Segmentation"]:
        """Segment pictures, so many at once, in their order; as `Client.segment_many`."""
        segment = partial(self.segment, **wanted)
        return in_order_async(segment, pictures, concurrency, on_error)

    async def classes(self, model: str = "default", version: int | None = None) -> Classes:
        """Return the classes of a model's version; by default of the live one."""
        return await self._run(calls.classes(model, version))

    async def overview(self) -> Overview:
        """Return every model with its live version, counts of tasks, and the workers."""
        return await self._run(calls.got(Overview, "/admin/overview"))

    def workers(self) -> AsyncIterator[Worker]:
        """Yield the workers that are there, the one that came last first."""
        return self._pages(calls.workers)

    def versions(
        self, model: str = "default", *, sort: str | None = None
    ) -> AsyncIterator[Version]:
        """Yield a model's versions, the newest first; by `created_at` the oldest."""
        return self._pages(calls.versions(model, sort))

    def curve(self, model: str = "default") -> AsyncIterator[Point]:
        """Yield what each of a model's versions scores, the newest first."""
        return self._pages(partial(calls.curve, model))

    async def version(self, model: str, number: int) -> Version:
        """Return a version: its classes, scores, files, and what the gate said."""
        return await self._run(calls.version(model, number))

    async def live(self, model: str = "default") -> Move:
        """Return where `live` points, by the move that brought it there."""
        return await self._run(calls.live(model))

    async def promote(self, model: str, number: int, *, seen: Move | None = None) -> Move:
        """Make a version live, whatever the gate said of it; as `Client.promote`."""
        return await self._run(calls.promoted(model, number, seen))

    async def rollback(self, model: str, number: int | None = None) -> Move:
        """Make live what was live before a version; by default before the one that is live."""
        return await self._run(calls.rolled_back(model, number))

    async def export(self, model: str, number: int, directory: AnyPath) -> Version:
        """Write a version's files to a folder, each checked; as `Client.export`."""
        return await self._run(exported(model, number, Path(directory)))

    async def _bound(self, flow: Flow[AsyncTask]) -> AsyncTask:
        try:
            return self._own(await self._run(flow))
        except TaskEnded as ended:
            self._own(ended.task)
            raise

    def _own(self, task: K) -> K:
        object.__setattr__(task, "_client", self)
        return task

    async def _pages(self, page: Callable[[str | None], Flow[Page[R]]]) -> AsyncIterator[R]:
        cursor: str | None = None
        while True:
            found = await self._run(page(cursor))
            for one in found.items:
                yield one
            cursor = found.cursor
            if cursor is None:
                return
