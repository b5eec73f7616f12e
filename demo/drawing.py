"""The demo's pictures, drawn by processes of their own while its service starts and learns."""

import signal
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from demo.pictures import Each, Scene, draw_dataset, draw_showcase
from demo.plan import CLASSES, NEW_CLASSES, OLD_CLASSES, Plan

PROCESSES = 2
AT_A_TIME = 8
"""Pictures that a process draws before it hands them over: a demo that is ended waits for them."""


@dataclass(frozen=True)
class Drawing:
    """Pictures that are being drawn.

    Those of either task show classes of the other as background (the overlapped protocol).

    Attributes:
        base: the zip of the first task.
        step: the zip of the second.
        scenes: the showcase, fully labelled.
    """

    base: Future[Path]
    step: Future[Path]
    scenes: Future[list[Scene]]


@contextmanager
def drawing(plan: Plan, output: Path) -> Iterator[Drawing]:
    """Draw the plan's pictures into `output`, in the order in which the demo needs them.

    What nobody waited for by the end of the block may not be there.
    """
    # Whoever ends the demo with ^C ends them too, without a word of theirs.
    quiet = signal.signal, (signal.SIGINT, signal.SIG_DFL)
    pool = ProcessPoolExecutor(PROCESSES, get_context("spawn"), *quiet)
    each = partial(pool.map, chunksize=AT_A_TIME)
    orders = ThreadPoolExecutor(1, thread_name_prefix="drawing")
    try:
        yield Drawing(
            base=orders.submit(_draw_base, plan, output / "base.zip", each),
            scenes=orders.submit(_draw_scenes, plan, each),
            step=orders.submit(_draw_step, plan, output / "step.zip", each),
        )
    finally:
        orders.shutdown(wait=False, cancel_futures=True)
        pool.shutdown(cancel_futures=True)
        orders.shutdown()


def _draw_base(plan: Plan, path: Path, each: Each) -> Path:
    draw_dataset(
        path,
        OLD_CLASSES,
        plan.base_pictures,
        plan.size,
        plan.picture_seeds[0],
        unlabelled=NEW_CLASSES,
        held_out=plan.base_held_out,
        each=each,
    )
    return path


def _draw_step(plan: Plan, path: Path, each: Each) -> Path:
    draw_dataset(
        path,
        NEW_CLASSES,
        plan.step_pictures,
        plan.size,
        plan.picture_seeds[1],
        unlabelled=OLD_CLASSES,
        each=each,
    )
    return path


def _draw_scenes(plan: Plan, each: Each) -> list[Scene]:
    return draw_showcase(
        CLASSES,
        plan.showcase_pictures,
        plan.showcase_size,
        plan.picture_seeds[2],
        always=NEW_CLASSES,
        each=each,
    )
