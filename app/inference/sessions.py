"""A graph, opened for runs of one thread or of several: on ONNX Runtime."""

import hashlib
import time
from collections.abc import Callable, Set
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnxruntime
import structlog
from numpy.typing import NDArray

from app.inference.ready_graphs import ReadyGraphs

Floats = NDArray[np.float32]
ON_CPU = "CPUExecutionProvider"
PROVIDERS = ("CUDAExecutionProvider", ON_CPU)
"""Where graphs are run, best first; which are there depends on the package that is installed."""
INPUT, LOGITS = "pixel_values", "logits"

log = structlog.get_logger(__name__)


def name_on(provider: str) -> str:
    """Return what plans and graphs made ready are kept for."""
    return f"onnxruntime {onnxruntime.__version__} on {provider}"


class Sessions:
    """Sessions of one graph. Weights are in memory once for each number of threads that is open.

    Args:
        graph: its file.
        side_by_side: runs of one thread at the same time.
        ready: where graphs are kept that were made ready; None: nowhere.
    """

    providers: ClassVar = [one for one in PROVIDERS if one in onnxruntime.get_available_providers()]
    name = name_on(providers[0])
    clock: Callable[[], float] = staticmethod(
        time.thread_time if providers[0] == ON_CPU else time.perf_counter
    )
    """Times a run of one thread: on a CPU it is the caller's own, whose time a busy machine hardly
    changes."""

    def __init__(
        self, graph: Path, side_by_side: int = 1, ready: ReadyGraphs | None = None
    ) -> None:
        self.graph = graph
        self.side_by_side = side_by_side
        self.form = ""
        """Digest of its operators and shapes, whatever its weights: see `form_of`. Empty before a
        session was opened."""
        # What runs elsewhere than on a CPU may not be fit to be opened again.
        self._ready = ready if self.providers[0] == ON_CPU else None
        self._opened: dict[int, Any] = {}

    def session(self, threads: int) -> Any:
        """Return what makes runs of so many CPU threads; several threads may use it."""
        if threads not in self._opened:
            self._opened[threads] = self._open(threads)
        return self._opened[threads]

    def keep(self, threads: Set[int]) -> None:
        """Close all others."""
        self._opened = {number: one for number, one in self._opened.items() if number in threads}

    def logits(self, pixels: Floats, threads: int) -> Floats:
        """Return the logits (N, C, h, w) of pictures (N, 3, H, W)."""
        logits: Floats = self.session(threads).run([LOGITS], {INPUT: pixels})[0]
        return logits

    def enlarged(self, pixels: Floats, threads: int) -> Floats:
        """Do the same; the memory that it took is given back, and not kept for the next run."""
        how = onnxruntime.RunOptions()
        how.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        logits: Floats = self.session(threads).run([LOGITS], {INPUT: pixels}, how)[0]
        return logits

    def _open(self, threads: int) -> Any:
        if self._ready is None:
            return self._session(self._read(), _options(threads))
        with self.graph.open("rb") as stream:
            key = hashlib.file_digest(stream, "sha256").hexdigest()
        found = self._ready.find(key, self.name)
        if found is not None:
            how = _options(threads)
            how.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            try:
                session = self._session(found.data, how)
            except Exception as error:  # noqa: BLE001 - its errors have no class in common
                log.warning("ready_graph_not_opened", graph=key, error=str(error))
                self._ready.forget(key)
            else:
                self.form = found.form
                return session
        return self._made_ready(self._ready, key, threads)

    def _made_ready(self, ready: ReadyGraphs, key: str, threads: int) -> Any:
        """Open a graph and keep what became of it for the next time."""
        cut = self._read()
        draft = ready.draft(len(cut))
        if draft is None:
            return self._session(cut, _options(threads))
        how = _options(threads)
        how.optimized_model_filepath = str(draft)
        try:
            session = self._session(cut, how)
        except Exception as error:  # noqa: BLE001 - as above
            log.warning("ready_graph_not_written", graph=key, error=str(error))
            draft.unlink(missing_ok=True)
            return self._session(cut, _options(threads))  # raises what is the graph's own fault
        ready.keep(draft, key, self.name, self.form)
        return session

    def _session(self, graph: bytes, how: Any) -> Any:
        made = onnxruntime.InferenceSession(graph, how, providers=self.providers)
        runs_on = made.get_providers()
        if runs_on[0] != self.providers[0]:  # CUDA's libraries are missing, or too old
            log.warning("graph_not_on_gpu", wanted=self.providers[0], runs_on=runs_on)
            # Else a plan that is measured now would be that of the GPU, once it can be used.
            self.name = name_on(runs_on[0])
        return made

    def _read(self) -> bytes:
        """Return what leads to the logits; see `logits_graph`."""
        # Brings ONNX along, for what is done once a version.
        from app.inference.logits_graph import form_of, logits_graph

        cut = logits_graph(self.graph)
        self.form = form_of(cut)
        return bytes(cut.SerializeToString())


def _options(threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads  # 1: a run stays on the lane's own thread
    options.inter_op_num_threads = 1  # these graphs have no branches worth a thread
    # A run's memory is one block, planned for its shape. Blocks that lanes take one by one can come
    # to lie so that they push each other out of a cache: a fifth of all answers, in some processes.
    options.enable_mem_pattern = True
    options.log_severity_level = 3
    # Threads that spin between runs take the processor from the training beside them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
