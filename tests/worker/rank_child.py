"""The training process, real but for a small backbone and a fault that a test asks for.

Ranks import this module too, as they are started: a fault is one rank's alone.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

import tests.fixtures.backbones  # noqa: F401 - it is registered
from sats_core.errors import DivergedError
from sats_core.methods import BaseStep
from sats_core.training import crew
from worker.child import main

FAULT = "SATS_TEST_FAULT"
"""Of rank 1: `killed` in the first batch after a checkpoint; `memory`, `diverged` or `bug` in its
first one. `unheard`: killed, and the first rank does not hear of it."""

ERRORS = {
    "memory": MemoryError("not enough memory: you tried to allocate 9 GiB"),
    "diverged": DivergedError("the loss term cross_entropy is nan"),
    "bug": KeyError("nobody knows why"),
}


def faulty(method: BaseStep, *batch: Tensor) -> Mapping[str, Tensor]:
    fault = os.environ[FAULT]
    if fault in ERRORS:
        raise ERRORS[fault]
    if (Path(sys.argv[1]).parent / "work" / "checkpoint.safetensors").exists():
        if multiprocessing.parent_process() is None:
            time.sleep(600)
        os.kill(os.getpid(), signal.SIGKILL)
    return terms(method, *batch)


terms = BaseStep.loss_terms
faulty_rank = "rank-1" if os.environ.get(FAULT) != "unheard" else ""
if FAULT in os.environ and faulty_rank in multiprocessing.current_process().name:
    BaseStep.loss_terms = faulty
    crew.GRACE_SECONDS = 1

if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
