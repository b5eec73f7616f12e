"""ONNX Runtime sessions of one graph."""

from collections.abc import Set
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

Floats = NDArray[np.float32]
ON_CPU = "CPUExecutionProvider"
PROVIDERS = ("CUDAExecutionProvider", ON_CPU)
"""Where graphs are run, best first; which are there depends on the package that is installed."""


class Sessions:
    """A graph, opened for runs of one thread or of several.

    Weights are in memory once for each number of threads that is open.

    Args:
        graph: its file.
    """

    def __init__(self, graph: Path) -> None:
        self._graph = graph
        self._open: dict[int, Any] = {}
        self.providers = [one for one in PROVIDERS if one in onnxruntime.get_available_providers()]

    def open(self, threads: int) -> Any:
        """Return the session whose runs take so many CPU threads; it may run side by side."""
        if threads not in self._open:
            self._open[threads] = onnxruntime.InferenceSession(
                self._graph.read_bytes(), _options(threads), providers=self.providers
            )
        return self._open[threads]

    def keep(self, threads: Set[int]) -> None:
        """Close all others."""
        self._open = {number: one for number, one in self._open.items() if number in threads}

    def logits(self, pixels: Floats, threads: int) -> Floats:
        """Return the logits (N, C, h, w) of pictures (N, 3, H, W)."""
        (found,) = self.open(threads).run(["logits"], {"pixel_values": pixels}, _path_to_logits())
        logits: Floats = found
        return logits


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
