"""The live versions, loaded before the service says that it is ready."""

import threading
import time
from concurrent.futures import Future, wait

from sqlalchemy import Engine

from app.db import read_session
from app.inference.graphs import Exported, Graphs, Served
from app.models.service import live_versions

LOOK_SECONDS = 1.0
"""How long one look waits for what is still loading: small graphs are there by then."""


class WarmUp:
    """Loads the versions that are live when somebody looks first.

    Args:
        engine: the database that says which are live.
        graphs: where they are loaded.
        seconds: after so many since the first look nothing is waited for any more.
    """

    def __init__(self, engine: Engine, graphs: Graphs, seconds: float) -> None:
        self._engine = engine
        self._graphs = graphs
        self._seconds = seconds
        self._deadline = 0.0
        self._loads: dict[str, Future[Served]] | None = None
        self._lock = threading.Lock()

    def loading(self) -> list[str]:
        """Return the models, each with its version's number, that are not loaded yet.

        One that cannot be loaded is not waited for: the others are served, and the log says why.

        Raises:
            SQLAlchemyError: the database does not answer.
        """
        with self._lock:
            if self._loads is None:
                self._loads = self._begun()
                self._deadline = time.monotonic() + self._seconds
            loads = self._loads
        left = max(0.0, self._deadline - time.monotonic())
        wait(loads.values(), timeout=min(LOOK_SECONDS, left))
        late = time.monotonic() >= self._deadline
        loading = [] if late else [name for name, load in loads.items() if not load.done()]
        if not loading:
            # A load holds its graph: kept here, a version that was replaced would never be freed.
            self._loads = {}
        return loading

    def _begun(self) -> dict[str, Future[Served]]:
        with read_session(self._engine) as session:
            live = [Exported.of(version) for version in live_versions(session)]
        return {f"{one.model} {one.number}": self._graphs.live(one).load for one in live}
