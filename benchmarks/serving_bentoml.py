"""Contestant: BentoML.

    bentoml serve benchmarks.serving_bentoml:Segmenter

Pictures are files of a form, as its clients send them, which it hands on as paths. A worker process
for each session; it writes no line a request.
"""

from pathlib import Path
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
        self, picture: Annotated[Path, ContentType("image/jpeg")]
    ) -> Annotated[bytes, ContentType("image/png")]:
        """Answer a picture with its mask."""
        return answer(self.graph, [picture.read_bytes()])[0]
