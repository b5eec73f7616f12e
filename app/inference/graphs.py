"""Which graphs are loaded, and the change from one live version to the next."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import structlog

from app.db import Version
from app.inference.graph import Graph, GraphError
from app.storage import BlobDamagedError, BlobMissingError, BlobStore

RETRY_SECONDS = 5.0
"""How long a version that could not be loaded is left alone."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Exported:
    """A version's files and what they are called; what serving knows of the database's row."""

    version_id: int
    model_id: int
    model: str
    number: int
    config: str
    """Blob key of `config.json`."""
    graph: str
    """Blob key of `model.onnx`."""

    @classmethod
    def of(cls, version: Version) -> "Exported":
        """Take what serving needs from a row."""
        return cls(
            version_id=version.id,
            model_id=version.model_id,
            model=version.model.name,
            number=version.number,
            config=version.files["config.json"]["blob"],
            graph=version.files["model.onnx"]["blob"],
        )


@dataclass(frozen=True, eq=False)
class Served:
    """A graph and the version that it is."""

    exported: Exported
    graph: Graph


@dataclass(frozen=True)
class Choice:
    """Who answers a request.

    Attributes:
        load: the version asked for, loaded or on its way.
        before: who answers if `load` fails: the version of the model that was live before.
    """

    load: "Future[Served]"
    before: Served | None = None


class Graphs:
    """The loaded versions, least recently used first out.

    Args:
        load: reads a version and warms it up; runs on one thread, never on a request's.
        keep: most versions in memory.
    """

    def __init__(self, load: Callable[[Exported], Graph], keep: int) -> None:
        self._load = load
        self._keep = keep
        self._loads: OrderedDict[int, Future[Served]] = OrderedDict()
        self._failed: dict[int, float] = {}
        self._wanted: dict[int, int] = {}
        """Model -> version that is live, as far as requests have told."""
        self._answering: dict[int, int] = {}
        """Model -> version that answers while the wanted one is on its way."""
        self._lock = threading.RLock()  # a load that is done already calls back at once
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="graph-loader")

    def pinned(self, exported: Exported) -> Choice:
        """Choose this version and no other."""
        with self._lock:
            return Choice(self._loading(exported)[0])

    def live(self, exported: Exported) -> Choice:
        """Choose the live version of a model, without a pause when it changes.

        The request that finds a new live version waits until it is loaded and warm; requests that
        come meanwhile are answered by the version before.
        """
        with self._lock:
            self._wanted[exported.model_id] = exported.version_id
            before = self._loaded(self._answering.get(exported.model_id))
            load, found_now = self._loading(exported)
            if found_now:
                load.add_done_callback(lambda _: self._take_over(exported))
            if _succeeded(load):
                self._answering[exported.model_id] = exported.version_id
                return Choice(load)
            if before is None or found_now:
                return Choice(load, before)
            return Choice(_finished(before))

    def close(self) -> None:
        """End the loading thread; what is loading is finished, what waits is not."""
        self._loader.shutdown(cancel_futures=True)

    def _loading(self, exported: Exported) -> "tuple[Future[Served], bool]":
        """Return a version's load, and whether this call began it."""
        key = exported.version_id
        load = self._loads.get(key)
        if load is not None and not self._may_retry(key):
            self._loads.move_to_end(key)
            return load, False
        load = self._loads[key] = self._loader.submit(self._served, exported)
        self._loads.move_to_end(key)
        self._forget_oldest()
        return load, True

    def _take_over(self, exported: Exported) -> None:
        with self._lock:
            if self._wanted[exported.model_id] == exported.version_id and self._loaded(
                exported.version_id
            ):
                self._answering[exported.model_id] = exported.version_id

    def _served(self, exported: Exported) -> Served:
        started = time.monotonic()
        try:
            served = Served(exported, self._load(exported))
        except Exception as error:
            self._failed[exported.version_id] = time.monotonic()
            log.exception("version_not_loaded", model=exported.model, version=exported.number)
            raise GraphError(str(error)) from error
        seconds = round(time.monotonic() - started, 3)
        log.info("version_loaded", model=exported.model, version=exported.number, seconds=seconds)
        return served

    def _loaded(self, version_id: int | None) -> Served | None:
        load = None if version_id is None else self._loads.get(version_id)
        if load is None or version_id is None or not _succeeded(load):
            return None
        self._loads.move_to_end(version_id)
        return load.result()

    def _may_retry(self, version_id: int) -> bool:
        failed = self._failed.get(version_id)
        if failed is None or time.monotonic() - failed < RETRY_SECONDS:
            return False
        del self._failed[version_id]
        return True

    def _forget_oldest(self) -> None:
        done = [key for key, load in self._loads.items() if load.done()]
        for key in done[: max(0, len(self._loads) - self._keep)]:
            del self._loads[key]
            self._failed.pop(key, None)


def graph_loader(blobs: BlobStore, threads: int) -> Callable[[Exported], Graph]:
    """Return what loads a version from its blobs, their content checked against their keys."""

    def load(exported: Exported) -> Graph:
        try:
            config, graph = (blobs.verified(key) for key in (exported.config, exported.graph))
        except (BlobMissingError, OSError) as error:
            raise GraphError(f"a file of the version is missing: {error}") from error
        except BlobDamagedError as error:
            raise GraphError(f"blob {error} is damaged") from error
        return Graph(config, graph, threads)

    return load


def _succeeded(load: "Future[Served]") -> bool:
    return load.done() and not load.cancelled() and load.exception() is None


def _finished(served: Served) -> "Future[Served]":
    load: Future[Served] = Future()
    load.set_result(served)
    return load
