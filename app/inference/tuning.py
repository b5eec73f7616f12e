"""How a graph is run fastest on this machine: measured when it is loaded, and remembered."""

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import structlog
from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

from app.inference.ready_graphs import ReadyGraphs
from app.inference.sessions import Floats, Sessions
from sats_core.files import write_whole

BATCHES = (2, 4, 8)
BUSY_MILLISECONDS = 50.0
"""A picture that takes longer keeps a thread busy by itself: there is nothing to share."""
CLEARLY = 0.85
"""Another way is taken where it needs less than this share of the time; the rest is noise."""
SECONDS, RUNS = 0.1, 20
"""How long one way is tried, and how often at most; at least once."""
PATIENCE = 5
"""Times as long, and as often, what needs all processors is tried as long as it is not clearly
faster: other work on one of them slows it down, and never speeds it up."""
CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")

Runtime = Literal["onnxruntime", "openvino"]

log = structlog.get_logger(__name__)


class Plan(BaseModel):
    """How a graph is run.

    Attributes:
        lone_threads: CPU threads of the run of a lone picture. All others take one: side by side
            they use every processor, and nothing waits for the slowest part of a run.
        batch: most pictures in one run.
    """

    model_config = ConfigDict(frozen=True)

    lone_threads: PositiveInt = 1
    batch: PositiveInt = 1


def sessions_on(runtime: Runtime) -> type[Sessions]:
    """Return what opens graphs on a runtime.

    Raises:
        ImportError: its package is not installed.
    """
    if runtime == "onnxruntime":
        return Sessions
    try:
        from app.inference.openvino_sessions import OpenVinoSessions
    except ImportError as error:
        raise ImportError(
            "SATS_SERVE_RUNTIME is openvino, which is not installed: pip install -e '.[openvino]'"
        ) from error
    return OpenVinoSessions


@dataclass(frozen=True)
class Measured:
    """Milliseconds of a picture.

    Attributes:
        one: run by itself on one thread.
        wide: by itself, on every processor; None where there is only one.
        batches: on one thread, in runs of so many.
    """

    one: float
    wide: float | None
    batches: dict[int, float]

    def plan(self, processors: int) -> Plan:
        """Return the plan that these figures speak for."""
        wide = self.wide is not None and self.wide < CLEARLY * self.one
        best = min(self.batches, key=lambda size: self.batches[size], default=1)
        pays = best > 1 and self.batches[best] < CLEARLY * self.one
        return Plan(lone_threads=processors if wide else 1, batch=best if pays else 1)


@dataclass(frozen=True)
class Tuner:
    """Finds plans.

    Attributes:
        folder: where they are kept: a file for each kind of graph.
        processors: that this process may use.
        lanes: threads that run graphs side by side.
        lone_threads: what the settings say of it; None: measured.
        batch: the same.
        kind: what opens graphs.
        ready: where graphs are kept that were made ready; None: nowhere.
    """

    folder: Path
    processors: int
    lanes: int = 1
    lone_threads: int | None = None
    batch: int | None = None
    kind: type[Sessions] = Sessions
    ready: ReadyGraphs | None = None

    def open(self, graph: Path) -> Sessions:
        """Open a graph's file."""
        return self.kind(graph, self.lanes, self.ready)

    def plan(self, sessions: Sessions, kind: str, sample: Floats) -> Plan:
        """Return how to run a graph.

        Args:
            sessions: of the graph; one is open.
            kind: graphs of one kind and form are equally fast; a file name.
            sample: (3, H, W) a picture as the graph sees most.
        """
        set_here = {"lone_threads": self.lone_threads, "batch": self.batch}
        chosen = {name: value for name, value in set_here.items() if value is not None}
        if len(chosen) == len(set_here):
            return Plan.model_validate(chosen)
        here = self._here(sessions, sample)
        found = self._remembered(kind, here)
        if found is None:
            measured = measure(sessions, sample, self.processors)
            found = measured.plan(self.processors)
            log.info("graph_measured", kind=kind, **asdict(measured), plan=found.model_dump())
            self._remember(kind, here, found)
        return found.model_copy(update=chosen)

    def _remembered(self, kind: str, here: str) -> Plan | None:
        try:
            plan = Plan.model_validate(self._kept(kind)[here])
        except (KeyError, ValidationError):
            return None
        possible = plan.lone_threads in (1, self.processors) and plan.batch in (1, *BATCHES)
        return plan if possible else None

    def _kept(self, kind: str) -> dict[str, Any]:
        """Return the plans of a kind of graph on all machines and at all sizes; none of no file."""
        try:
            kept = json.loads((self.folder / f"{kind}.json").read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            log.warning("plans_not_read", kind=kind, error=str(error))
            return {}
        return kept if isinstance(kept, dict) else {}

    def _remember(self, kind: str, here: str, plan: Plan) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            kept = self._kept(kind) | {here: plan.model_dump()}
            write_whole(self.folder / f"{kind}.json", json.dumps(kept).encode())
        except OSError as error:
            # It is measured again by the next process; nothing else depends on it.
            log.warning("plan_not_kept", kind=kind, error=str(error))

    def _here(self, sessions: Sessions, sample: Floats) -> str:
        """Name all that the figures depend on beside the kind of graph."""
        shape = "x".join(map(str, sample.shape))
        return f"{_processor()}, {self.processors}, {shape}, {sessions.name}, {sessions.form}"


def measure(sessions: Sessions, sample: Floats, processors: int) -> Measured:
    """Time a graph's runs; batches only as long as longer ones are faster.

    Where a run of one thread is the caller's own, it is timed by that: a busy machine hardly slows
    it down.
    """
    one = _milliseconds(partial(sessions.logits, sample[None], 1), sessions.clock)
    wide = None
    if processors > 1:
        runs = partial(sessions.logits, sample[None], processors)
        wide = _milliseconds(runs, time.perf_counter, until=CLEARLY * one)
    batches: dict[int, float] = {}
    least = one
    for size in BATCHES if one < BUSY_MILLISECONDS else ():
        several = np.repeat(sample[None], size, axis=0)
        batches[size] = _milliseconds(partial(sessions.logits, several, 1), sessions.clock) / size
        if batches[size] >= least:
            break
        least = batches[size]
    return Measured(one, wide, batches)


def processors() -> int:
    """Return how many processors this process may use, a container's limit considered."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0))
    try:
        quota, period = CPU_LIMIT.read_text().split()
        return min(allowed, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):  # there is no such limit ("max"), or no such file
        return allowed


def _milliseconds(
    run: Callable[[], object], clock: Callable[[], float], until: float = math.inf
) -> float:
    """Return the time of the fastest run: what slows the others down is not the graph's.

    Args:
        run: does one.
        clock: times it, seconds.
        until: tried on with patience as long as none was faster, milliseconds.
    """
    run()  # sets up what later runs find ready
    times: list[float] = []
    patience = 1
    while len(times) < patience * RUNS and sum(times) < patience * SECONDS:
        began = clock()
        run()
        times.append(clock() - began)
        patience = 1 if 1000 * min(times) < until else PATIENCE
    return round(1000 * min(times), 3)


@cache
def _processor() -> str:
    """Return the processor's name; where the system does not tell it, nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "")
