"""The client for programs that wait for each answer."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

import httpx

from sats_client import _calls as calls
from sats_client._calls import AnyPath, Page
from sats_client._exporting import exported
from sats_client._files import Told
from sats_client._flow import Flow, Persistence
from sats_client._many import OnError, in_order
from sats_client._segmenting import Known, answered, segmented
from sats_client._settings import MAX_ANSWER_BYTES, Asked, Sought, http_options
from sats_client._sync import Driver
from sats_client.errors import TaskEnded
from sats_client.models import Classes, Move, Overview, Point, Version, Worker
from sats_client.records import TaskRecord
from sats_client.tasks import Task

if TYPE_CHECKING:
    from sats_client.segmentation import Picture, Segmentation
R = TypeVar("R")
K = TypeVar("K", bound=TaskRecord)


class Client:
    """A service, over HTTP. Threads may share it.

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
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        options = http_options(url, api_key, timeout, connections)
        self._http = httpx.Client(**options, transport=transport)
        self._run = Driver(self._http, Persistence(tries, patience), max_answer_bytes).run
        self._known: Known = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({str(self._http.base_url)!r})"

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def submit(
        self,
        dataset: AnyPath,
        *,
        name: str | None = None,
        progress: Told | None = None,
        idempotency_key: str | None = None,
        **spec: Any,
    ) -> Task:
        """Post labelled pictures of something new.

        Args:
            dataset: a zip, or a folder in one of the layouts that the service reads.
            name: what people call the task; default: the file's or folder's.
            progress: told of the bytes that were sent and of how many there are.
            idempotency_key: the same key with the same data set makes one task; default: a new one.
            **spec: the rest of the task's spec: model, classes, method, epochs, gate, ...

        Raises:
            Refused: the data set cannot be used; `errors` names every file and class at fault.
            ValueError: the folder has no files.
        """
        wanted = calls.submission(dataset, name, spec, progress, idempotency_key)
        return self._bound(calls.posted(Task, wanted))

    def import_model(
        self,
        checkpoint: AnyPath,
        *,
        model: str = "default",
        evaluate: AnyPath | None = None,
        progress: Told | None = None,
        idempotency_key: str | None = None,
        source: str | None = None,
        **spec: Any,
    ) -> Task:
        """Make a version of a SegFormer that was trained elsewhere; a task does it.

        Args:
            checkpoint: a Hugging Face directory, or a zip of one.
            model: that gets the version.
            evaluate: labelled pictures to score it on, a zip or a folder.
            progress: told of the checkpoint's bytes that were sent and of how many there are.
            idempotency_key: the same key with the same files makes one task; default: a new one.
            source: what the version says that it came from; default: the file's or folder's name.
            **spec: name, create (the model, where there is none), background, features, promote.
        """
        wanted = calls.importing(
            checkpoint, model, evaluate, spec, progress, idempotency_key, source
        )
        return self._bound(calls.posted(Task, wanted))

    def retire(
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
    ) -> Task:
        """Make a version without some of a version's classes; a task does it.

        Its `retirement` says what was measured of them, which is no guarantee.

        Args:
            model: and `number` name the version.
            number: of the version; it stays, and knows the classes.
            classes: names of those that go.
            depth: `hide`, `unlearn` or `forget`, which deletes kept pictures of them too once the
                new version is live.
            dataset: labelled pictures of what goes, what stays, or both; a zip or a folder.
            progress: told of the bytes that were sent and of how many there are.
            idempotency_key: the same key with the same request makes one task; default: a new one.
            **spec: name, gate, epochs, learning_rate, ...
        """
        wanted = {"classes": list(classes), "depth": depth, **spec}
        post = calls.retiring(model, number, dataset, wanted, progress, idempotency_key)
        return self._bound(calls.posted(Task, post))

    def task(self, task_id: str) -> Task:
        """Return a task."""
        return self._bound(calls.got(Task, calls.task_path(task_id)))

    def tasks(self, **wanted: Unpack[Sought]) -> Iterator[Task]:
        """Yield tasks; pages are asked for as they are needed.

        Args:
            **wanted: model, state (one or several), outcome, submitter, text, created_after and
                created_before narrow them; sort is `-created_at` (the newest first, as where
                nothing is asked for), `created_at`, `-finished_at` or `finished_at`.
        """
        for task in self._pages(calls.tasks(Task, wanted)):
            yield self._own(task)

    def segment(self, picture: "Picture", **wanted: Unpack[Asked]) -> "Segmentation":
        """Say of every pixel of a picture which learned class it shows.

        Args:
            picture: a file, its bytes, an open picture of Pillow, or uint8 pixels.
            **wanted: model, version, size, classes, min_score, scores: `Asked` says what they do.
        """
        return self._run(segmented(self._known, picture, wanted))

    def segment_as(self, picture: "Picture", form: str, **wanted: Unpack[Asked]) -> bytes:
        """Return what the service answers of a picture as it is, in one of its forms.

        Args:
            picture: as `segment` takes it.
            form: a content type: `image/png`, `image/png; profile=overlay`, `application/json`, ...
            **wanted: as of `segment`; what the form does not show has no effect.
        """
        return self._run(answered(picture, form, wanted))

    def segment_many(
        self,
        pictures: Iterable["Picture"],
        *,
        concurrency: int = 4,
        on_error: OnError | None = None,
        **wanted: Unpack[Asked],
    ) -> Iterator["Segmentation"]:
        """Segment pictures, so many at once, and yield what they show in their order.

        No picture is taken from `pictures` before there is room for it: however many there are,
        `concurrency` of them are in memory.

        Args:
            pictures: as `segment` takes them.
            concurrency: most requests at once.
            on_error: told of a picture that is not answered, and why, which is then passed over;
                default: the error is raised.
            **wanted: as of `segment`.
        """
        segment = partial(self.segment, **wanted)
        return in_order(segment, pictures, concurrency, on_error)

    def classes(self, model: str = "default", version: int | None = None) -> Classes:
        """Return the classes of a model's version; by default of the live one."""
        return self._run(calls.classes(model, version))

    def overview(self) -> Overview:
        """Return every model with its live version, counts of tasks, and the workers."""
        return self._run(calls.got(Overview, "/admin/overview"))

    def workers(self) -> Iterator[Worker]:
        """Yield the workers that are there, the one that came last first."""
        return self._pages(calls.workers)

    def versions(self, model: str = "default", *, sort: str | None = None) -> Iterator[Version]:
        """Yield a model's versions, the newest first; by `created_at` the oldest."""
        return self._pages(calls.versions(model, sort))

    def curve(self, model: str = "default") -> Iterator[Point]:
        """Yield what each of a model's versions scores, the newest first."""
        return self._pages(partial(calls.curve, model))

    def version(self, model: str, number: int) -> Version:
        """Return a version: its classes, scores, files, and what the gate said."""
        return self._run(calls.version(model, number))

    def live(self, model: str = "default") -> Move:
        """Return where `live` points, by the move that brought it there."""
        return self._run(calls.live(model))

    def promote(self, model: str, number: int, *, seen: Move | None = None) -> Move:
        """Make a version live, whatever the gate said of it.

        Args:
            model: and `number` name the version.
            seen: what `live` gave; moved is only what still stands like that.

        Raises:
            Conflict: somebody has moved `live` since it was seen.
        """
        return self._run(calls.promoted(model, number, seen))

    def rollback(self, model: str, number: int | None = None) -> Move:
        """Make live what was live before a version; by default before the one that is live."""
        return self._run(calls.rolled_back(model, number))

    def export(self, model: str, number: int, directory: AnyPath) -> Version:
        """Write a version's files to a folder, each checked by its checksum.

        What is there already stays; a file that was cut off is taken up where it ended.

        Raises:
            Damaged: a file is not what its checksum says; it was removed.
        """
        return self._run(exported(model, number, Path(directory)))

    def _bound(self, flow: Flow[Task]) -> Task:
        try:
            return self._own(self._run(flow))
        except TaskEnded as ended:
            self._own(ended.task)
            raise

    def _own(self, task: K) -> K:
        object.__setattr__(task, "_client", self)
        return task

    def _pages(self, page: Callable[[str | None], Flow[Page[R]]]) -> Iterator[R]:
        cursor: str | None = None
        while True:
            found = self._run(page(cursor))
            yield from found.items
            cursor = found.cursor
            if cursor is None:
                return
