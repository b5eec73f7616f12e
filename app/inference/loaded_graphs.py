"""Which graphs are loaded, and the change from one live version to the next."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import structlog

from app.inference.exported_graph import Graph, GraphError
from app.inference.tuning import Plan, Tuner
from app.registry.live import KnownVersion
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
    bytes: int
    """Size of `model.onnx`."""

    @classmethod
    def of(cls, version: KnownVersion) -> "Exported":
        """Take what serving needs of a version.

        Raises:
            GraphError: it has no such files; an older release may have made it.
        """
        try:
            config, graph = version.files["config.json"], version.files["model.onnx"]
        except KeyError as error:
            raise GraphError(f"it has no file {error.args[0]}") from error
        return cls(
            version_id=version.id,
            model_id=version.model_id,
            model=version.model,
            number=version.number,
            config=config["blob"],
            graph=graph["blob"],
            bytes=graph["bytes"],
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
        exported: the version asked for.
        load: it, loaded or on its way.
        before: who answers if `load` fails: the version of the model that was live before.
    """

    exported: Exported
    load: "Future[Served]"
    before: Served | None = None


@dataclass(eq=False)
class _Entry:
    """A version that is loaded, loading, or waiting for a loader."""

    exported: Exported
    load: "Future[Served]" = field(default_factory=Future)
    live: bool = False
    """Whether it was given to the loader of live versions."""


@dataclass(frozen=True)
class _Failure:
    """A load that failed, told to whoever asks before it is tried again."""

    load: "Future[Served]"
    at: float


class Graphs:
    """The loaded versions: the live ones, and of the others what was used last.

    Args:
        load: reads a version and warms it up; runs on a loader's thread, never on a request's.
        spare_bytes: of graph files of the versions that are not live.
    """

    def __init__(self, load: Callable[[Exported], Graph], spare_bytes: int) -> None:
        self._load = load
        self._spare_bytes = spare_bytes
        self._entries: OrderedDict[int, _Entry] = OrderedDict()
        self._failed: dict[int, _Failure] = {}
        self._wanted: dict[int, int] = {}
        """Model -> version that is live, as far as requests have told."""
        self._answering: dict[int, int] = {}
        """Model -> version that answers while the wanted one is on its way."""
        self._lock = threading.Lock()
        # A thread each: no live version waits for those that somebody named.
        self._live_loader = ThreadPoolExecutor(1, thread_name_prefix="live-graph-loader")
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="graph-loader")

    def pinned(self, exported: Exported) -> Choice:
        """Choose this version and no other."""
        with self._lock:
            return Choice(exported, self._loading(exported, live=False)[0])

    def live(self, exported: Exported) -> Choice:
        """Choose the live version of a model, without a pause when it changes.

        The request that finds a new live version waits until it is loaded and warm; requests that
        come meanwhile are answered by the version before.
        """
        with self._lock:
            self._wanted[exported.model_id] = exported.version_id
            before = self._loaded(self._answering.get(exported.model_id))
            load, found_now = self._loading(exported, live=True)
            if _succeeded(load):
                self._answering[exported.model_id] = exported.version_id
                return Choice(exported, load)
            if before is None or found_now:
                return Choice(exported, load, before)
            return Choice(exported, _finished(before))

    def loaded(self) -> list[tuple[str, int]]:
        """Return model and number of every version that is loaded or on its way."""
        with self._lock:
            return [(e.exported.model, e.exported.number) for e in self._entries.values()]

    def plans(self) -> dict[tuple[str, int], Plan]:
        """Return by model and number how each version is run that is loaded."""
        with self._lock:
            served = [e.load.result() for e in self._entries.values() if _succeeded(e.load)]
        return {(one.exported.model, one.exported.number): one.graph.plan for one in served}

    def close(self) -> None:
        """End the loading threads; what is loading is finished, what waits is not."""
        for loader in (self._live_loader, self._loader):
            loader.shutdown(cancel_futures=True)
        with self._lock:
            for entry in self._entries.values():
                entry.load.cancel()

    def _loading(self, exported: Exported, *, live: bool) -> "tuple[Future[Served], bool]":
        """Return a version's load, and whether this call began it."""
        self._forget_oldest()
        key = exported.version_id
        failure = self._failed.get(key)
        if failure is not None and time.monotonic() - failure.at < RETRY_SECONDS:
            return failure.load, False
        entry = self._entries.get(key)
        begun = entry is None
        if entry is None:
            entry = self._entries[key] = _Entry(exported)
        self._entries.move_to_end(key)
        if begun or (live and not entry.live and not entry.load.done()):
            # Of a version that waits behind others when it goes live, the live loader takes the
            # same entry: whichever thread comes first loads it.
            entry.live = live
            (self._live_loader if live else self._loader).submit(self._serve, entry)
        return entry.load, begun

    def _serve(self, entry: _Entry) -> None:
        """Load a version, unless the other loader was faster, and tell who waits for it."""
        with self._lock:
            if entry.load.running() or entry.load.done():
                return
            entry.load.set_running_or_notify_cancel()
        try:
            served = self._served(entry.exported)
        except GraphError as error:
            with self._lock:
                self._fail(entry, error)
        else:
            with self._lock:
                entry.load.set_result(served)
                self._settle(entry.exported)

    def _served(self, exported: Exported) -> Served:
        started = time.monotonic()
        try:
            served = Served(exported, self._load(exported))
        except Exception as error:
            log.exception("version_not_loaded", model=exported.model, version=exported.number)
            raise GraphError(str(error)) from error
        log.info(
            "version_loaded",
            model=exported.model,
            version=exported.number,
            seconds=round(time.monotonic() - started, 3),
            plan=served.graph.plan.model_dump(),  # measured now, or before
        )
        return served

    def _settle(self, exported: Exported) -> None:
        """Let a version answer that is live and loaded now; forget what has no room beside it."""
        if self._wanted.get(exported.model_id) == exported.version_id:
            self._answering[exported.model_id] = exported.version_id
        self._forget_oldest()

    def _fail(self, entry: _Entry, error: GraphError) -> None:
        """Remember a failure for its time; what was not loaded takes nobody's room."""
        now = time.monotonic()
        self._failed = {k: f for k, f in self._failed.items() if now - f.at < RETRY_SECONDS}
        self._failed[entry.exported.version_id] = _Failure(entry.load, now)
        del self._entries[entry.exported.version_id]
        entry.load.set_exception(error)

    def _loaded(self, version_id: int | None) -> Served | None:
        entry = None if version_id is None else self._entries.get(version_id)
        if entry is None or not _succeeded(entry.load):
            return None
        self._entries.move_to_end(entry.exported.version_id)
        return entry.load.result()

    def _forget_oldest(self) -> None:
        """Forget versions that are not live until the others fit, the least recently used first."""
        kept = {*self._wanted.values(), *self._answering.values()}
        spare = [e for key, e in self._entries.items() if key not in kept and e.load.done()]
        excess = sum(entry.exported.bytes for entry in spare) - self._spare_bytes
        for entry in spare:
            if excess <= 0:
                return
            excess -= entry.exported.bytes
            del self._entries[entry.exported.version_id]


def graph_loader(blobs: BlobStore, tuner: Tuner, window: int) -> Callable[[Exported], Graph]:
    """Return what loads a version from its blobs, their content checked against their keys."""

    def load(exported: Exported) -> Graph:
        try:
            config, graph = (blobs.verified(key) for key in (exported.config, exported.graph))
        except (BlobMissingError, OSError) as error:
            raise GraphError(f"a file of the version is missing: {error}") from error
        except BlobDamagedError as error:
            raise GraphError(f"blob {error} is damaged") from error
        return Graph(config, graph, tuner, window)

    return load


def _succeeded(load: "Future[Served]") -> bool:
    return load.done() and not load.cancelled() and load.exception() is None


def _finished(served: Served) -> "Future[Served]":
    load: Future[Served] = Future()
    load.set_result(served)
    return load
