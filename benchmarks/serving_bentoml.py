"""Contestant: BentoML.

    bentoml serve benchmarks.serving_bentoml:Segmenter

Pictures are files of a form, as its clients send them. A worker process for each session; it writes
no line a request.
"""

from typing import Annotated

import bentoml
from bentoml.validators import ContentType

from benchmarks.serving_pipeline import answer, load_graph, told

version, setup = told()


@bentoml.service(
    name="segmenter", workers=setup.sessions, threads=1, logging={"access": {"enabled": False}}
)
class Segmenter:
    """A picture in, its mask out."""

    def __init__(self) -> None:
        self.graph = load_graph(version, setup.threads)

    @bentoml.api(route="/segment")
    def segment(
        self, picture: Annotated[bytes, ContentType("image/jpeg")]
    ) -> Annotated[bytes, ContentType("image/png")]:
        """Answer a picture with its mask."""
        return answer(self.graph, [picture])[0]
