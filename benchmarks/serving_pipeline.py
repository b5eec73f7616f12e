"""From a posted picture to its mask, as functions: what every contestant calls, and no more.

They are the service's own, so that the contestants differ in what stands around them alone.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from app.inference.cutting import Cut
from app.inference.exported_graph import Graph, ModelInput
from app.inference.tuning import Tuner
from app.segmentation.rendering import mask_png
from sats_core.classes import Catalogue
from sats_core.data.pictures import decode_resized
from sats_core.data.prediction import Prediction

MOST_PIXELS = 50_000_000
VERSION, SETUP, EAGER = "SERVING_VERSION", "SERVING_SETUP", "SERVING_EAGER"
"""Variables that tell a contestant its version's directory, how it computes, and to use torch."""


@dataclass(frozen=True)
class Setup:
    """How a contestant computes.

    Attributes:
        sessions: threads or processes that answer, each with a session of its own.
        threads: CPU threads of one run of a session.
        batch: most pictures in one run.
    """

    sessions: int
    threads: int
    batch: int = 1

    @classmethod
    def read(cls, text: str) -> "Setup":
        """Read what `str` of one gives, as `2x1x4`."""
        return cls(*map(int, text.split("x")))

    def __str__(self) -> str:
        return f"{self.sessions}x{self.threads}x{self.batch}"

    def filled_by(self, clients: int) -> bool:
        """Return whether so many clients fill every session's batch, where there are batches."""
        return self.batch == 1 or self.sessions * self.batch <= clients


class Model(Protocol):
    """What the functions below ask of a model; an exported graph has it."""

    catalogue: Catalogue

    def shown(self, height: int, width: int) -> tuple[int, int]:
        """As a graph."""

    def normalised(self, seen: Any) -> ModelInput:
        """As a graph."""

    def run(self, views: Sequence[ModelInput]) -> list[Prediction]:
        """As a graph."""

    def segmented(self, prediction: Prediction, height: int, width: int) -> Any:
        """As a graph."""


@dataclass(frozen=True, eq=False)
class Seen:
    """A decoded picture: its view, and its own size in pixels."""

    view: ModelInput
    height: int
    width: int


class Exported:
    """The graph of an exported version, as the service runs it for a mask alone.

    Args:
        version: its directory.
        threads: CPU threads of one run.
    """

    def __init__(self, version: Path, threads: int) -> None:
        tuner = Tuner(version, processors=threads, lone_threads=threads, batch=1)
        self._graph = Graph(version / "config.json", version / "model.onnx", tuner)
        self._view = self._graph.view_of(None)
        self.catalogue = self._graph.catalogue
        self.shown = self._view.shown

    def normalised(self, seen: Any) -> ModelInput:
        """Return what the graph takes of a picture."""
        return self._graph.normalised(seen, self._view)

    def run(self, views: Sequence[ModelInput]) -> list[Prediction]:
        """Run views together."""
        return self._graph.run(views, alone=True)

    def segmented(self, prediction: Prediction, height: int, width: int) -> Any:
        """Cut the mask, without scores."""
        return self._graph.segmented(prediction, height, width, Cut(mean_scores=False))


def load_graph(version: Path, threads: int) -> Exported:
    """Load the graph of an exported version."""
    return Exported(version, threads)


def see(model: Model, data: bytes) -> Seen:
    """Decode a picture to what the model sees of it."""
    picture = decode_resized(data, MOST_PIXELS, model.shown)
    return Seen(model.normalised(picture.pixels), picture.height, picture.width)


def finish(model: Model, seen: Seen, prediction: Prediction) -> bytes:
    """Cut the mask at the picture's own size and encode it as PNG."""
    return mask_png(model.segmented(prediction, seen.height, seen.width).mask, model.catalogue)


def answer(model: Model, pictures: Sequence[bytes]) -> list[bytes]:
    """Return the masks of pictures, run in one batch where they are seen at one size."""
    seen = [see(model, data) for data in pictures]
    if len({one.view.pixels.shape for one in seen}) == 1:
        predictions = model.run([one.view for one in seen])
    else:
        predictions = [model.run([one.view])[0] for one in seen]
    return [finish(model, one, found) for one, found in zip(seen, predictions, strict=True)]


def told() -> tuple[Path, Setup]:
    """Return what this process was told to serve, and how."""
    return Path(os.environ[VERSION]), Setup.read(os.environ[SETUP])


class Eager:
    """The same version in torch, as it was trained, beside the graph's own pre- and postprocessing.

    Args:
        version: its directory.
        threads: CPU threads of one run.
    """

    def __init__(self, version: Path, threads: int) -> None:
        import torch

        from sats_core.export import load_version

        torch.set_num_threads(threads)
        self._torch = torch
        self._model = load_version(version).model.eval()
        graph = load_graph(version, 1)
        self.catalogue = graph.catalogue
        self.shown, self.normalised, self.segmented = graph.shown, graph.normalised, graph.segmented

    def run(self, views: Sequence[ModelInput]) -> list[Prediction]:
        """Run views of one padded shape together."""
        batch = np.stack([view.pixels for view in views])
        with self._torch.inference_mode():
            logits = self._model(self._torch.from_numpy(batch)).numpy()
        return [_prediction(view, one) for view, one in zip(views, logits, strict=True)]


def _prediction(view: ModelInput, logits: Any) -> Prediction:
    _, height, width = view.pixels.shape
    _, rows, columns = logits.shape
    return Prediction(logits.copy(), rows * view.height / height, columns * view.width / width)
