"""How far an evaluation is, and whether it goes on."""

from collections.abc import Callable

from sats_core.events import ProgressEvent
from sats_core.training.loop import StoppedError
from sats_core.training.progress import Emit, Progress


def evaluation_counter(
    todo: int, emit: Emit, should_stop: Callable[[], bool]
) -> Callable[[], None]:
    """Begin to tell the progress of an evaluation, and return what counts one picture.

    Args:
        todo: pictures in all.
        emit: where events go.
        should_stop: asked at every picture; the counter raises `StoppedError` once it says yes.
    """
    progress = Progress(emit, ProgressEvent(phase="evaluating", step=0, steps=todo), todo)
    done = 0

    def seen() -> None:
        nonlocal done
        if should_stop():
            raise StoppedError
        done += 1
        progress.advance(1, step=done)

    return seen
