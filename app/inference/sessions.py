"""A graph, opened for runs of one thread or of several: on ONNX Runtime."""

import time
from collections.abc import Callable, Set
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

Floats = NDArray[np.float32]
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
"""Where graphs are run, best first; which are there depends on the package that is installed."""
INPUT = "pixel_values"


class Sessions:
    """Sessions of one graph. Weights are in memory once for each number of threads that is open.

    Args:
        graph: its file.
        side_by_side: runs of one thread at the same time.
    """

    name = "onnxruntime " + onnxruntime.__version__
    clock: Callable[[], float] = staticmethod(time.thread_time)
    """Times a run of one thread: it is the caller's own, which a busy machine hardly slows down."""

    def __init__(self, graph: Path, side_by_side: int = 1) -> None:
        self.graph = graph
        self.side_by_side = side_by_side
        self._opened: dict[int, Any] = {}

    def session(self, threads: int) -> Any:
        """Return what makes runs of so many CPU threads; several threads may use it."""
        if threads not in self._opened:
            self._opened[threads] = self._open(threads)
        return self._opened[threads]

    def keep(self, threads: Set[int]) -> None:
        """Close all others."""
        self._opened = {number: one for number, one in self._opened.items() if number in threads}

    def outputs(self, pixels: Floats) -> tuple[Any, Any, Any]:
        """Return logits, labels and scores of pictures (N, 3, H, W)."""
        names = ["logits", "labels", "scores"]
        logits, labels, scores = self.session(1).run(names, {INPUT: pixels})
        return logits, labels, scores

    def logits(self, pixels: Floats, threads: int) -> Floats:
        """Return the logits (N, C, h, w) of pictures (N, 3, H, W)."""
        (found,) = self.session(threads).run(["logits"], {INPUT: pixels}, _path_to_logits())
        logits: Floats = found
        return logits

    def _open(self, threads: int) -> Any:
        providers = [one for one in PROVIDERS if one in onnxruntime.get_available_providers()]
        return onnxruntime.InferenceSession(
            self.graph.read_bytes(), _options(threads), providers=providers
        )


def _path_to_logits() -> Any:
    """Leave out what the graph makes of its logits: it is made at the picture's size instead."""
    options = onnxruntime.RunOptions()
    options.only_execute_path_to_fetches = True
    return options


def _options(threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads  # 1: a run stays on the lane's own thread
    options.inter_op_num_threads = 1  # these graphs have no branches worth a thread
    options.enable_mem_pattern = False  # plans memory for one shape; ours differ
    options.log_severity_level = 3
    # Threads that spin between runs take the processor from the training beside them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
