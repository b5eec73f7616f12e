"""What lanes take: work that somebody waits for."""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import structlog

from app.inference.measures import Stages

log = structlog.get_logger(__name__)

Ready = TypeVar("Ready")
Raw = TypeVar("Raw")
Done = TypeVar("Done")
_In = TypeVar("_In", contravariant=True)
_Out = TypeVar("_Out", covariant=True)


class LeftError(Exception):
    """Nobody waits for the result any more."""


class Runner(Protocol[_In, _Out]):
    """What several works may be run by together."""

    @property
    def most(self) -> int:
        """Works in one run."""

    def run(self, ready: Sequence[_In], *, alone: bool, left: Callable[[], bool]) -> Sequence[_Out]:
        """Return the results of 1 to `most` inputs, in order.

        Args:
            ready: the inputs.
            alone: whether no other lane is busy and nothing waits.
            left: whether nobody waits for any of the results any more; a long run asks.

        Raises:
            LeftError: it asked, and nobody does.
        """
        ...


class Work(ABC, Generic[Ready, Raw, Done]):
    """What somebody waits for. It is prepared and finished by itself, and run with others.

    Args:
        runner: works of the same one may share a run.
    """

    def __init__(self, runner: Runner[Ready, Raw]) -> None:
        self.runner = runner
        self._left = threading.Event()

    @property
    def left(self) -> bool:
        """Whether nobody waits for it any more."""
        return self._left.is_set()

    def leave(self) -> None:
        """Say that nobody does; long work asks and ends early."""
        self._left.set()

    @abstractmethod
    def prepare(self) -> Ready:
        """Return what is run."""

    @abstractmethod
    def finish(self, raw: Raw) -> Done:
        """Return what is waited for."""

    def ran(self, works: int) -> None:
        """Hear that so many works, this the first of them, had their run."""

    def measured(self, stages: Stages) -> None:
        """Hear how long it took, once it is done."""


@dataclass(eq=False)
class Waiting:
    """A work, who waits for it, and how long it took so far."""

    work: Work[Any, Any, Any]
    answer: "Future[Any]" = field(default_factory=Future)
    since: float = field(default_factory=time.perf_counter)
    queued: float = 0.0
    """Seconds until a lane took it."""
    input: float = 0.0
    """Seconds in which it was prepared."""

    def fail(self, error: BaseException) -> None:
        """Tell who waits what went wrong: of what ends a thread, that it happened.

        Raised on the event loop, SystemExit would end the process.
        """
        told = error
        if not isinstance(error, Exception):
            told = RuntimeError(f"the work ended with {error!r}")
            told.__cause__ = error
        self.answer.set_exception(told)

    def finish(self, raw: Any, infer: float) -> None:
        """Tell who waits what came of a run that took so many seconds."""
        began = time.perf_counter()
        try:
            done = self.work.finish(raw)
        except BaseException as error:  # noqa: BLE001 - it belongs to who waits for it
            self.fail(error)
            return
        output = time.perf_counter() - began
        try:
            self.work.measured(Stages(self.queued, self.input, infer, output))
        except Exception:
            log.exception("work_not_measured")  # its answer is good
        self.answer.set_result(done)
