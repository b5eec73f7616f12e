"""Contestant: LitServe.

    python -m benchmarks.serving_litserve PORT

Pictures are the body itself. A worker process for each session, and its faster queue.
"""

import sys
from typing import Annotated, Any

import litserve
from fastapi import Body, Response

from benchmarks.serving_pipeline import answer, load_graph, told


class Segmenter(litserve.LitAPI):
    """A picture in, its mask out; where the setup says so, several pictures in one run."""

    def setup(self, _device: Any) -> None:
        """Load the graph, in a worker's process."""
        version, setup = told()
        self.batched = setup.batch > 1
        self.graph = load_graph(version, setup.threads)

    def decode_request(self, request: Annotated[bytes, Body(media_type="image/jpeg")]) -> bytes:
        """Take the picture as it is."""
        return request

    def batch(self, inputs: Any) -> Any:
        """Keep pictures apart: they are decoded by what runs them."""
        return inputs

    def unbatch(self, output: Any) -> Any:
        """Give masks one by one."""
        return output

    def predict(self, x: Any) -> Any:
        """Return the mask of a picture, or those of a batch."""
        return answer(self.graph, x) if self.batched else answer(self.graph, [x])[0]

    def encode_response(self, output: bytes) -> Response:
        """Answer with the mask."""
        return Response(output, media_type="image/png")


def main(port: int) -> None:
    """Serve until told to stop."""
    _, setup = told()
    api = Segmenter(max_batch_size=setup.batch, batch_timeout=0.0, api_path="/segment")
    server = litserve.LitServer(
        api, accelerator="cpu", workers_per_device=setup.sessions, fast_queue=True
    )
    server.run(
        host="127.0.0.1",
        port=port,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
