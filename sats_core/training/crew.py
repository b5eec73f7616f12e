"""The processes that train along: started by the first rank, watched, and never left behind.

The first rank is the training process itself. The others do what every rank does
(`StepTrainer.descend`) and nothing else. What ends one of them ends the step: the first rank fails
with the other's failure, or is lost as the other was lost, and the step is taken up from its
checkpoint as after any loss.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

import torch

from sats_core.data.batches import LabelledPictures
from sats_core.data.cache import PictureCache
from sats_core.events import Event, FailedEvent, WarningEvent, parse_event
from sats_core.heap import keep_freed_memory
from sats_core.job import StepJob
from sats_core.methods import Finetune, make_method
from sats_core.parent_death import signal_at_parent_death
from sats_core.training.checkpoint import fingerprint_of
from sats_core.training.failures import RankFailedError, failure_of
from sats_core.training.learn import StepTrainer
from sats_core.training.loop import StoppedError
from sats_core.training.progress import Emit
from sats_core.training.ranks import ALONE, Ranks, joined_group
from sats_core.training.start import begin

GRACE_SECONDS = 30.0
"""Between the end of one rank and the first one's: it mostly learns of it by an error of its own;
where it waits for an accelerator it may never."""

log = logging.getLogger(__name__)


class RankLostError(Exception):
    """A rank ended without a word; what the step has reached is in its checkpoint.

    Attributes:
        killed: whether somebody killed it (SIGKILL): a person, or the kernel for lack of memory.
    """

    def __init__(self, number: int, status: int) -> None:
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        super().__init__(f"rank {number} {how} in the middle of the step")
        self.killed = status == -signal.SIGKILL


@dataclass(frozen=True)
class Errand:
    """What another rank needs to know.

    Attributes:
        job: the step.
        pictures, memory: decoded, where every process can read them.
        count: of ranks.
        folder: theirs alone, as long as they run.
    """

    job: StepJob
    pictures: LabelledPictures
    memory: LabelledPictures
    count: int
    folder: Path

    @property
    def store(self) -> Path:
        """File by which ranks find each other."""
        return self.folder / "store"

    def failure(self, number: int) -> Path:
        """Return the file in which a rank says why it failed."""
        return self.folder / f"failed-{number}.json"


@contextmanager
def crew(
    job: StepJob, pictures: PictureCache, memory: PictureCache, emit: Emit, batch_size: int
) -> Iterator[Ranks]:
    """Bring the ranks that share a step's batches, and this process among them.

    Args:
        job: the step; of the devices that it may use those are taken that there are.
        pictures, memory: what is trained on; they are full.
        emit: where a warning goes.
        batch_size: pictures in a batch; no rank is without one.

    Raises:
        RankLostError: in the block; a rank was lost.
        RankFailedError: in the block; a rank said why it cannot go on.
    """
    count = min(job.devices, batch_size, _devices(job, emit))
    if count == 1:
        yield ALONE
        return
    made = TemporaryDirectory(dir=job.work, prefix="ranks-", ignore_cleanup_errors=True)
    with made as folder:
        errand = Errand(job, pictures.filled(), memory.filled(), count, Path(folder))
        with _Others(errand, emit) as others:
            try:
                with joined_group(0, count, errand.store) as ranks:
                    yield ranks
            except Exception as error:
                if isinstance(error, StoppedError) or failure_of(error) is not None:
                    raise
                found = others.what_happened()
                if found is None:
                    raise
                raise found from error


def _devices(job: StepJob, emit: Emit) -> int:
    if not torch.cuda.is_available():
        return job.devices
    there = torch.cuda.device_count()
    if there < job.devices:
        emit(WarningEvent(message=f"{job.devices} devices are asked for, {there} are there"))
    return there


class _Others:
    """All ranks but the first, which started them; a context manager that leaves none behind."""

    def __init__(self, errand: Errand, emit: Emit) -> None:
        self._errand = errand
        self._emit = emit
        self._leaving = threading.Event()
        self._asking = threading.Lock()
        spawn = get_context("spawn")  # a device does not survive a fork
        self._processes: list[BaseProcess] = [
            spawn.Process(
                target=run_rank, args=(number, errand), daemon=True, name=f"rank-{number}"
            )
            for number in range(1, errand.count)
        ]

    def __enter__(self) -> "_Others":
        for process in self._processes:
            process.start()
        threading.Thread(target=self._watch, name="ranks-watch", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.set()
        for process in self._processes:
            process.kill()  # whether the step goes on or failed, there is nothing left for it
            with self._asking:
                process.join()

    def what_happened(self) -> Exception | None:
        """Return what to raise for ranks that ended; None where all of them live or did well.

        Waits a little: whoever lost its connection to a rank knows it before the rank is gone. One
        that says why it failed, or that was killed, explains what befell the others.
        """
        wait([process.sentinel for process in self._processes], GRACE_SECONDS)
        for process in self._processes:
            wait([process.sentinel], 1 / len(self._processes))
        statuses = enumerate(map(self._status, self._processes), start=1)
        ended = [self._end_of(number, status) for number, status in statuses if status]
        return min(ended, key=_what_explains_first, default=None)

    def _status(self, process: BaseProcess) -> int | None:
        """Return a rank's exit status, None while it lives."""
        with self._asking:  # of two threads that ask at once one would be told that it lives
            if wait([process.sentinel], 0):
                process.join()  # it lets go of everything a moment before it can be asked
            return process.exitcode

    def _end_of(self, number: int, status: int) -> Exception:
        with suppress(FileNotFoundError):
            said = parse_event(self._errand.failure(number).read_bytes())
            if isinstance(said, FailedEvent):
                return RankFailedError(said)
        return RankLostError(number, status)

    def _watch(self) -> None:
        """End this process where a rank ended and nobody noticed."""
        living = list(self._processes)
        while living:
            wait([process.sentinel for process in living])
            if any(map(self._status, living)):
                break
            living = [process for process in living if self._status(process) is None]
        else:
            return
        if self._leaving.wait(GRACE_SECONDS):
            return
        found = self.what_happened()
        log.error("the step ends, it waits for a rank that is gone: %s", found)
        if isinstance(found, RankFailedError):
            self._emit(found.failure)
            os._exit(0)
        end_as_lost(found)


def _what_explains_first(error: Exception) -> int:
    if isinstance(error, RankFailedError):
        return 0
    return 1 if isinstance(error, RankLostError) and error.killed else 2


def end_as_lost(error: Exception | None) -> NoReturn:
    """End this process at once, as a rank was ended."""
    if isinstance(error, RankLostError) and error.killed:
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(1)


def run_rank(number: int, errand: Errand) -> None:
    """Be rank `number` > 0 of a step, in a process of its own, and end with it."""
    if sys.platform == "linux":
        signal_at_parent_death(signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the worker's business
    first = parent_process()
    if first is None or not first.is_alive():
        return  # it was gone before it could be asked to tell
    keep_freed_memory()
    try:
        _train_along(number, errand)
    except StoppedError:
        return
    except Exception as error:
        failure = failure_of(error)
        if failure is not None:
            errand.failure(number).write_text(failure.model_dump_json())
        raise


def _train_along(number: int, errand: Errand) -> None:
    job = errand.job
    if job.threads:
        torch.set_num_threads(job.threads)
    with joined_group(number, errand.count, errand.store) as ranks:
        start = begin(job)
        trainer = StepTrainer(
            start,
            errand.pictures,
            errand.memory,
            job.work,
            fingerprint_of(job),
            _say_nothing,
            lambda: False,
            job.halvings,
            lambda _batch_size: nullcontext(ranks),
        )
        old, curvature = (start.old.model, start.old.curvature) if start.old else (None, None)
        method = make_method(start.settings, start.model, old, curvature)
        if not isinstance(method, Finetune):
            raise TypeError(f"{type(method).__name__} has nothing to share")
        trainer.descend(method)


def _say_nothing(_event: Event) -> None:
    """The first rank speaks for all."""
