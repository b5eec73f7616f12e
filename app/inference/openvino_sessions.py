"""A graph, opened on OpenVINO, which is faster on Intel's processors. Extra `openvino`."""

import time
from threading import local
from typing import Any

import openvino

from app.inference.sessions import INPUT, LOGITS, Floats, Sessions


class OpenVinoSessions(Sessions):
    """Compiled models of one graph.

    OpenVINO runs them on threads of its own: a stream for each lane, or one with every thread.
    """

    name = "openvino " + openvino.__version__
    clock = staticmethod(time.perf_counter)

    def logits(self, pixels: Floats, threads: int) -> Floats:
        """Return the logits (N, C, h, w) of pictures (N, 3, H, W)."""
        request = self._request(threads)
        request.infer({INPUT: pixels})
        logits: Floats = request.get_tensor(LOGITS).data.copy()  # the next run writes there
        return logits

    def enlarged(self, pixels: Floats, threads: int) -> Floats:
        """Do the same: OpenVINO keeps no memory by itself."""
        return self.logits(pixels, threads)

    def _request(self, threads: int) -> Any:
        compiled, requests = self.session(threads)
        if not hasattr(requests, "own"):
            requests.own = compiled.create_infer_request()
        return requests.own

    def _open(self, threads: int) -> Any:
        core = openvino.Core()
        streams = self.side_by_side if threads == 1 else 1
        how = {
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": streams * threads,
            # Half precision, its default where the processor has it, names other classes here and
            # there.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        return core.compile_model(core.read_model(self._read(), b""), "CPU", how), local()
