"""The live versions, loaded before the service says that it is ready."""

import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, wait

from app.inference.exported_graph import GraphError
from app.inference.loaded_graphs import Exported, Graphs, Served
from app.registry.live import KnownVersion, LiveVersions

LOOK_SECONDS = 1.0
"""How long one look waits for what is still loading: small graphs are there by then."""


class WarmUp:
    """Loads the versions that are live when somebody looks first.

    Args:
        live: which those are.
        graphs: where they are loaded.
        seconds: after so many since the first look no load is waited for any more.
    """

    def __init__(self, live: LiveVersions, graphs: Graphs, seconds: float) -> None:
        self._live = live
        self._graphs = graphs
        self._seconds = seconds
        self._deadline = 0.0
        self._loads: dict[str, Future[Served]] | None = None
        self._without_graph: dict[KnownVersion, str] = {}
        self._lock = threading.Lock()

    def reason(self) -> str | None:
        """Return why the service is not ready: what is loading, what has no graph; None if it is.

        One that cannot be loaded is not waited for: the others are served, and the log says why.
        One whose record names no graph is, until another version of its model is live: an older
        release may have made it, and its replicas are better left running.

        Raises:
            SQLAlchemyError: the database does not answer.
        """
        with self._lock:
            if self._loads is None:
                self._loads = self._begun()
                self._deadline = time.monotonic() + self._seconds
            loads = self._loads
        loading = self._loading(loads)
        if not loading:
            # A load holds its graph: kept here, a version that was replaced would never be freed.
            self._loads = {}
        live = self._live.all()
        reasons = [why for version, why in self._without_graph.items() if version in live]
        if loading:
            reasons.insert(0, f"loading {', '.join(loading)}")
        return "; ".join(reasons) or None

    def _begun(self) -> dict[str, Future[Served]]:
        self._live.refresh()
        loads = {}
        for version in self._live.all():
            name = f"{version.model} {version.number}"
            try:
                loads[name] = self._graphs.live(Exported.of(version)).load
            except GraphError as error:
                self._without_graph[version] = f"{name} cannot be served: {error}"
        return loads

    def _loading(self, loads: Mapping[str, "Future[Served]"]) -> list[str]:
        left = max(0.0, self._deadline - time.monotonic())
        wait(loads.values(), timeout=min(LOOK_SECONDS, left))
        if time.monotonic() >= self._deadline:
            return []
        return [name for name, load in loads.items() if not load.done()]
