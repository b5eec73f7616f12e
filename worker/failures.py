"""Why a task fails through no fault of what was posted, and what to do then."""

import errno
import signal

from app.errors import DiskFullProblem, Problem, problem_of_faults
from sats_core.events import FailedEvent
from sats_core.job import Job, StepJob
from worker.child import STOPPED
from worker.folder import FolderInUseError
from worker.process import how_it_ended

AGAIN = "then POST /tasks/{id}:retry: it goes on from the last checkpoint"


class WorkerLostProblem(Problem):
    """A task was started as often as the settings allow and got no further."""

    slug = "step-lost"
    title = "The step was lost too often"


class ProcessKilledProblem(Problem):
    """Somebody outside the service ended the training process."""

    slug = "process-killed"
    title = "The training process was killed"


class NoWorkerProblem(Problem):
    """A task asked for what no worker had that was alive, for as long as the settings allow."""

    slug = "worker-missing"
    title = "No worker may take the task"


class OutOfMemoryProblem(Problem):
    """The step needs more memory than there is, however few pictures are computed at once."""

    slug = "out-of-memory"
    title = "Memory ran out"


class ExportFailedProblem(Problem):
    """The model was trained, but no version can be made of it."""

    slug = "export-failed"
    title = "The trained model could not be exported"


class FolderInUseProblem(Problem):
    """A process that hangs still works in the task's folder, so that no other one may."""

    slug = "work-folder-held"
    title = "Another process holds the task's work folder"


class StepLostError(Exception):
    """A try came to nothing through no fault of the input; another one may do better.

    Attributes:
        problem: what the task fails with if this was its last try.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


class FewerAtOnceError(Exception):
    """Memory ran out while the step trained; with half as many pictures at once it may be enough.

    Attributes:
        warning: what the task's reader should know of it.
    """

    def __init__(self, warning: str) -> None:
        super().__init__(warning)
        self.warning = warning


def why_failed(failed: FailedEvent, job: Job, phase: str | None) -> Exception:
    """Return what to raise for a step that said why it cannot go on.

    Args:
        failed: what it said.
        job: what it ran.
        phase: what it was doing.
    """
    match failed.cause:
        case "memory":
            return _out_of_memory(failed.message, job, phase)
        case "disk":
            return _disk_full(failed.message)
        case "export":
            return ExportFailedProblem(
                f"{failed.message}. GET /tasks/{{id}}/log shows more. Its training is kept: "
                "POST /tasks/{id}:retry scores and exports it again"
            )
        case "input":
            return problem_of_faults(failed.message, failed.faults)


def why_lost(status: int, starved: bool, job: Job, phase: str | None) -> Exception:
    """Return what to raise for a process that ended without a word.

    Args:
        status: its exit status.
        starved: whether the kernel killed it for lack of memory.
        job: what it ran.
        phase: what it was doing.
    """
    said = how_it_ended(status)
    if starved:
        return _out_of_memory("memory ran out and the kernel killed the process", job, phase)
    if status in _KILLED:
        return StepLostError(
            ProcessKilledProblem(
                f"{said} Something outside the service did it: a person, a limit of the container, "
                f"the machine's shutdown. See to that, {AGAIN}"
            )
        )
    return StepLostError(WorkerLostProblem(f"{said} GET /tasks/{{id}}/log shows its last lines"))


def silent_worker() -> Problem:
    """Return what a task fails with whose worker let its lease run out."""
    return WorkerLostProblem(
        "The worker that took it stopped without a word: its log, or the machine's, may say why. "
        f"See to that, {AGAIN}"
    )


def why_worker_failed(error: Exception) -> Problem:
    """Return what a task fails with after an error of the worker's own."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _disk_full(f"the disk is full: {error.strerror}")
    if isinstance(error, FolderInUseError):
        return FolderInUseProblem(
            f"{error.holder} took the task before, still works in its folder and did not end "
            f"within {error.waited:g} seconds: it may hang. End it and its training process, "
            f"{AGAIN}"
        )
    if isinstance(error, MemoryError):
        return OutOfMemoryProblem(f"memory ran out in the worker. {_MORE_MEMORY}")
    return WorkerLostProblem(
        f"The worker met an error of its own ({type(error).__name__}); its log says which"
    )


_KILLED = {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP, STOPPED}
"""Its worker, which asks it to stop too, never asks why."""
_MORE_MEMORY = f"Give the machine more memory, {AGAIN}"


def _out_of_memory(said: str, job: Job, phase: str | None) -> Exception:
    if isinstance(job, StepJob) and phase == "training":
        fewer = job.at_once_after(job.halvings + 1)
        if fewer < job.at_once:
            return FewerAtOnceError(
                f"{said}: tried again with {fewer} instead of {job.at_once} pictures computed at "
                "once; the batch and the learning rate stay as they are"
            )
    less = "with a smaller `size` or `batch_size`, or start from a smaller backbone"
    if isinstance(job, StepJob) and job.old_version and job.settings.method == "frozen":
        less = "with fewer `pixels` or `units` in its `method_settings`, or a smaller `batch_size`"
    return StepLostError(OutOfMemoryProblem(f"{said}. Post it {less}. Or: {_MORE_MEMORY}"))


def _disk_full(said: str) -> DiskFullProblem:
    return DiskFullProblem(
        f"{said}. Free some space where SATS_DATA_DIR is, or raise the quota, {AGAIN}"
    )
