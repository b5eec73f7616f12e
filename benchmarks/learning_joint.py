"""How long `joint` trains: longer and longer schedules, until more gains next to nothing.

Every stage is one schedule from the base step's start, half as long again as the one before, and
the best stage is the mark. Both are decided on the pictures that runs are scored on, which favours
`joint` a little over the methods measured against it.
"""

import json
from pathlib import Path
from typing import Any

from benchmarks.intervals import mean_known
from sats_core.errors import ModelError

CONVERGED = 0.01
"""`joint` is converged when a schedule half as long again gains less mIoU than this."""
MOST_STAGES = 5
"""The last stage is 1.5 ** 4, five times, as long as the first."""

Record = dict[str, Any]


def stage_epochs(first: int, number: int) -> int:
    """Return the epochs of a stage, from 0 on: half as many again as of the one before."""
    epochs = first
    for _ in range(number):
        epochs += -(-epochs // 2)
    return epochs


def stages(folder: Path) -> list[Record]:
    """Return what the finished stages of a joint run left, in order."""
    found = (folder / f"step{number}" / "step.json" for number in range(MOST_STAGES))
    return [json.loads(path.read_text()) for path in found if path.exists()]


def check_stages(folder: Path, first: int) -> None:
    """Check that finished stages are of the lengths asked for.

    Raises:
        ModelError: one is not.
    """
    for stage in stages(folder):
        number, epochs = stage["step"], stage["settings"]["epochs"]
        if epochs != stage_epochs(first, number):
            raise ModelError(
                f"{folder / f'step{number}'} was trained for {epochs} epochs and not "
                f"{stage_epochs(first, number)}: remove it"
            )


def converged(found: list[Record]) -> bool:
    """Return whether the last of the stages gained less than 0.01 over the best before it."""
    scores = [score(stage) for stage in found]
    return len(scores) > 1 and scores[-1] - max(scores[:-1]) < CONVERGED


def best(found: list[Record]) -> Record:
    """Return the stage of the highest mIoU; of equals the shortest."""
    return max(found, key=score)


def score(stage: Record) -> float:
    """Return the mIoU of a stage over all classes."""
    return mean_known(stage["iou"].values()) or 0.0
