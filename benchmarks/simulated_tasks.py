"""Tasks of a simulated year: how they wait, and what became of them."""

import heapq
from collections import defaultdict
from dataclasses import dataclass, field
from enum import StrEnum

from benchmarks.simulated_company import Post


class End(StrEnum):
    """How a task is left when the year is over."""

    LIVE = "live"
    HELD = "held"
    FAILED = "failed"
    RUNNING = "running"
    WAITING = "waiting"


@dataclass(frozen=True)
class Outage:
    """A region that is down: seconds since the year began."""

    region: int
    begins: float
    ends: float


@dataclass(eq=False)
class Task:
    """A posted task on its way."""

    post: Post
    sequence: int
    end: End = End.WAITING
    tries: int = 0
    kept: int = 0
    """Epochs that the next try does not repeat."""
    furthest: int = 0
    """Epochs that any try finished."""
    claimed_at: float | None = None
    ended_at: float | None = None
    lost_at: float | None = None


@dataclass
class Account:
    """What became of a year; seconds of workers, and tasks."""

    tasks: list[Task] = field(default_factory=list)
    useful: float = 0.0
    lost: float = 0.0
    in_hand: float = 0.0
    """Of tries that the year's end found under way."""
    paid: float = 0.0
    """Seconds that machines were there, booting too."""
    vanished: int = 0
    tries_lost: int = 0
    posts_delayed: int = 0
    resumed_after: list[float] = field(default_factory=list)
    """From each loss of a try until somebody took its task up again."""
    busy: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    """Seconds for which so many workers trained."""


class Queue:
    """Whose turn it is: of each model the first, of those the owner served longest ago."""

    def __init__(self) -> None:
        self._waiting: dict[int, list[tuple[int, Task]]] = defaultdict(list)
        self._ready: dict[int, list[tuple[int, Task]]] = {}
        self._running: set[int] = set()
        self._turns: dict[int, int] = {}
        self._served = 0

    def add(self, task: Task) -> bool:
        """Let a task wait; say whether one more can be taken now."""
        model = task.post.model
        heapq.heappush(self._waiting[model], (task.sequence, task))
        # A task that comes back is older than all that wait, and its model did not run meanwhile.
        return self._offer(model) if len(self._waiting[model]) == 1 else False

    def take(self) -> Task | None:
        """Return the task whose turn it is; its model runs until it is `released`."""
        if not self._ready:
            return None
        owner = min(self._ready, key=lambda one: (self._turns.get(one, 0), one))
        _, task = heapq.heappop(self._ready[owner])
        if not self._ready[owner]:
            del self._ready[owner]
        heapq.heappop(self._waiting[task.post.model])
        self._running.add(task.post.model)
        self._served += 1
        self._turns[owner] = self._served
        return task

    def release(self, task: Task, *, again: bool) -> bool:
        """End a task's hold on its model; say whether one more can be taken now."""
        model = task.post.model
        self._running.remove(model)
        if again:
            heapq.heappush(self._waiting[model], (task.sequence, task))
        return self._offer(model)

    def _offer(self, model: int) -> bool:
        waiting = self._waiting[model]
        if model in self._running or not waiting:
            return False
        first = waiting[0]
        heapq.heappush(self._ready.setdefault(first[1].post.owner, []), first)
        return True
