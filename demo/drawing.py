"""The demo's pictures, drawn by processes of their own while its service starts and learns."""

import signal
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from demo.pictures import Scene, draw_dataset, draw_showcase
from demo.plan import CLASSES, NEW_CLASSES, OLD_CLASSES, Plan

PROCESSES = 2


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
    """Draw the plan's pictures into `output`; at the end they are there."""
    # Whoever ends the demo with ^C ends them too, without a word of theirs.
    quiet = signal.signal, (signal.SIGINT, signal.SIG_DFL)
    with ProcessPoolExecutor(PROCESSES, get_context("spawn"), *quiet) as pool:
        yield Drawing(
            pool.submit(_draw_base, plan, output / "base.zip"),
            pool.submit(_draw_step, plan, output / "step.zip"),
            pool.submit(_draw_scenes, plan),
        )


def _draw_base(plan: Plan, path: Path) -> Path:
    draw_dataset(
        path,
        OLD_CLASSES,
        plan.base_pictures,
        plan.size,
        plan.picture_seeds[0],
        unlabelled=NEW_CLASSES,
        held_out=plan.base_held_out,
    )
    return path


def _draw_step(plan: Plan, path: Path) -> Path:
    seed = plan.picture_seeds[1]
    draw_dataset(path, NEW_CLASSES, plan.step_pictures, plan.size, seed, unlabelled=OLD_CLASSES)
    return path


def _draw_scenes(plan: Plan) -> list[Scene]:
    seed = plan.picture_seeds[2]
    return draw_showcase(
        CLASSES, plan.showcase_pictures, plan.showcase_size, seed, always=NEW_CLASSES
    )
