"""The process that trains: `python -m worker.child JOB.json`.

Its stdout carries events, a JSON line each, and nothing else; its stderr is the task's log; its
stdin is held open by the worker and never written to. It ends with its worker, however that ends:
the kernel kills it where it can (Linux), and the end of stdin tells it everywhere else. SIGTERM
asks it to stop at the next batch.
"""

import gc
import os
import signal
import sys
import threading
import traceback
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from sats_core.parent_death import signal_at_parent_death

if TYPE_CHECKING:
    from sats_core.events import Event

STOPPED = 75
"""Exit status of a step that stopped because it was asked to (EX_TEMPFAIL)."""


def main(job_file: Path) -> int:
    """Run the job and return the exit status: 0 if an event said how it ended."""
    events = claim_stdout()
    die_with_parent()
    stop = threading.Event()

    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, ask_to_stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the worker's business

    # torch comes in here: the guards above must stand before the seconds that its import takes.
    gc.disable()  # what is imported stays: to look for garbage in it is a sixth of those seconds
    from sats_core.events import Event
    from sats_core.heap import keep_freed_memory
    from sats_core.job import ImportJob, RetireJob, parse_job
    from sats_core.training.crew import RankLostError, end_as_lost
    from sats_core.training.failures import failure_of
    from sats_core.training.import_model import run_import
    from sats_core.training.loop import StoppedError
    from sats_core.training.retire import run_retire
    from sats_core.training.step import run_step

    gc.freeze()
    gc.enable()

    def emit(event: Event) -> None:
        os.write(events, event.model_dump_json().encode() + b"\n")
        _log(event)

    job = parse_job(job_file.read_bytes())
    try:
        keep_freed_memory()
        if isinstance(job, ImportJob):
            run_import(job, emit, stop.is_set)
        elif isinstance(job, RetireJob):
            run_retire(job, emit, stop.is_set)
        else:
            run_step(job, emit, stop.is_set)
    except StoppedError:
        return STOPPED
    except RankLostError as error:
        traceback.print_exc()
        end_as_lost(error)  # so that its worker sees what it would have seen of this one
    except Exception as error:
        failure = failure_of(error)
        if failure is None:
            raise
        if failure.cause != "input":
            traceback.print_exc()
        emit(failure)
    return 0


def _log(event: "Event") -> None:
    """Write to stderr what of an event is worth keeping."""
    said = _said(event)
    if said:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        print(now, said, file=sys.stderr, flush=True)  # noqa: T201 - the log itself


def _said(event: "Event") -> str | None:
    match event.event:
        case "phase":
            return event.phase
        case "progress":
            losses = ", ".join(f"{name} {value:.4g}" for name, value in event.losses.items())
            return f"epoch {event.epoch} of {event.epochs}: {losses}" if event.epoch_end else None
        case "warning" | "failed":
            return f"{event.event}: {event.message}"
        case "done":
            return event.event
        case "labels":
            return None  # what is suspect comes as warnings


def die_with_parent() -> None:
    """End this process when the one that started it ends."""
    if sys.platform == "linux":
        # The thread that forked it is the worker's main thread.
        signal_at_parent_death(signal.SIGKILL)
    threading.Thread(target=exit_at_end_of_stdin, name="parent-watch", daemon=True).start()


def exit_at_end_of_stdin() -> None:
    """End this process once nobody holds the other end of its stdin."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(1)


def claim_stdout() -> int:
    """Return a descriptor of the real stdout, and send everybody else's prints to stderr."""
    sys.stdout.flush()
    events = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return events


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
