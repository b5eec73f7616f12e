"""What serving counts: answers, failures and runs by version, and the seconds of every stage."""

import threading
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Literal, get_args

from app.telemetry import tracing

Reason = Literal["overloaded", "deadline", "client", "graph", "picture", "closed"]
"""Why a picture was not answered: no room; not in time; the client left; the graph could not be
loaded or run; the picture cannot be used; the service stops."""

REASONS: tuple[Reason, ...] = get_args(Reason)

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds, seconds: from a small graph on a GPU to the deadline of a request."""

MOST_VERSIONS = 64
"""Versions that are counted at a time; each takes 73 samples."""


@dataclass(frozen=True)
class Stages:
    """Seconds of one answered request or picture.

    Attributes:
        queue: it waited for its run.
        input: it was decoded, resized and normalised.
        infer: the graph ran, on its batch.
        output: its mask was cut, described and rendered.
    """

    queue: float
    input: float
    infer: float
    output: float


STAGES = tuple(each.name for each in fields(Stages))


@dataclass
class Seconds:
    """A histogram.

    Attributes:
        counts: of values in each of `BUCKETS`, not cumulated, and last of those above them all.
        total: their sum.
    """

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one value."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds

    def copy(self) -> "Seconds":
        """Return one that stays as it is."""
        return Seconds(self.counts.copy(), self.total)


@dataclass
class Figures:
    """Everything that was counted of one version.

    Attributes:
        answered: pictures that were answered.
        failed: pictures that were not, by reason.
        runs, run_pictures: executions of the graph, and pictures in them.
        stages: seconds of what was answered, in the order of `STAGES`.
    """

    answered: int = 0
    failed: dict[Reason, int] = field(default_factory=lambda: dict.fromkeys(REASONS, 0))
    runs: int = 0
    run_pictures: int = 0
    stages: Sequence[Seconds] = field(default_factory=lambda: [Seconds() for _ in STAGES])

    def copy(self) -> "Figures":
        """Return one that stays as it is."""
        return replace(
            self,
            failed=self.failed.copy(),
            stages=[seconds.copy() for seconds in self.stages],
        )


class Measures:
    """Counts what inference does, by version; any thread may.

    Whoever calls names a version that exists: nothing that a client makes up comes here. Of more
    than `MOST_VERSIONS` those are forgotten that were counted longest ago.
    """

    def __init__(self) -> None:
        self._figures: OrderedDict[tuple[str, int], Figures] = OrderedDict()
        self._counted: set[tuple[str, int]] = set()
        """Versions of which anything was counted since `keep`."""
        self._lock = threading.Lock()

    def answered(self, model: str, version: int, stages: Stages, pictures: int = 1) -> None:
        """Count pictures that were answered; where they are traced, their stages become spans.

        They come under their request's span if the call is made in its context.
        """
        times = (stages.queue, stages.input, stages.infer, stages.output)
        with self._lock:
            figures = self._of(model, version)
            figures.answered += pictures
            for histogram, seconds in zip(figures.stages, times, strict=True):
                histogram.add(seconds)
        if (spans := tracing.current()) is not None:
            spans.stages(
                {"sats.model": model, "sats.version": version, "sats.pictures": pictures},
                {name: getattr(stages, name) for name in STAGES},
            )

    def failed(self, model: str, version: int, reason: Reason, pictures: int = 1) -> None:
        """Count pictures that were not.

        Raises:
            KeyError: no such reason.
        """
        with self._lock:
            figures = self._of(model, version)
            figures.failed[reason] += pictures

    def ran(self, model: str, version: int, pictures: int) -> None:
        """Count one execution of a graph over so many pictures."""
        with self._lock:
            figures = self._of(model, version)
            figures.runs += 1
            figures.run_pictures += pictures

    def keep(self, loaded: Collection[tuple[str, int]]) -> None:
        """Forget versions that are not loaded, unless they were counted since the last call.

        What was counted of a version is so read once at least, if this is called before each
        `read`. Of a version that is loaded zeros are read: a rate begins at them.
        """
        with self._lock:
            for key in self._figures.keys() - self._counted - set(loaded):
                del self._figures[key]
            self._counted.clear()
            for key in loaded:
                if len(self._figures) < MOST_VERSIONS:
                    self._figures.setdefault(key, Figures())

    def read(self) -> dict[tuple[str, int], Figures]:
        """Return the figures of every version, as of now."""
        with self._lock:
            keys = sorted(self._figures)
        found = {}
        for key in keys:  # one at a time: no request waits for the copy of them all
            with self._lock:
                figures = self._figures.get(key)
                if figures is not None:
                    found[key] = figures.copy()
        return found

    def _of(self, model: str, version: int) -> Figures:
        key = model, version
        figures = self._figures.get(key)
        if figures is None:
            figures = self._figures[key] = Figures()
            while len(self._figures) > MOST_VERSIONS:
                self._counted.discard(self._figures.popitem(last=False)[0])
        self._figures.move_to_end(key)
        self._counted.add(key)
        return figures
