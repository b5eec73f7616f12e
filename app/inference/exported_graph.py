"""The exported graph of one version: pictures in, class masks out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from pydantic import BaseModel, Field, PositiveInt

from sats_core.classes import Catalogue, ClassInfo
from sats_core.data import transforms
from sats_core.data.transforms import evaluation_view, resize_label
from sats_core.version_config import read_version_config

Pixels = NDArray[np.uint8]


class GraphError(Exception):
    """The files of a version are no graph that can be served."""


class GraphConfig(BaseModel):
    """What serving reads of a version's `config.json`."""

    size: PositiveInt
    view: transforms.View | None = Field(
        None, description="How pictures are shown to it; by default the longer side is `size`."
    )
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]
    classes: tuple[ClassInfo, ...]


@dataclass(frozen=True, eq=False)
class ModelInput:
    """A picture as the graph sees it.

    Attributes:
        pixels: (3, H, W) float32, normalised, zeros below and right of the picture.
        height: rows that show the picture.
        width: columns that show the picture.
    """

    pixels: NDArray[np.float32]
    height: int
    width: int


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the graph says of one view, its padding cut off.

    Attributes:
        channels: (h, w) uint8, output channel of the best class.
        scores: (h, w) float32, its probability.
    """

    channels: Pixels
    scores: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Segmented:
    """What one picture shows.

    Attributes:
        mask: (H, W) uint8 at the picture's own size, values are class indices.
        scores: class index -> mean probability over the class's pixels.
    """

    mask: Pixels
    scores: dict[int, float]


class Graph:
    """One version, loaded and warm.

    Args:
        config: the version's `config.json`.
        graph: its `model.onnx`.
        threads: CPU threads of one run.

    Raises:
        GraphError: a file is missing or damaged, or config and graph do not fit each other.
    """

    def __init__(self, config: Path, graph: Path, threads: int) -> None:
        try:
            self.config = GraphConfig.model_validate(read_version_config(config.read_bytes()))
            self.catalogue = Catalogue(self.config.classes)
            self._session = onnxruntime.InferenceSession(
                graph.read_bytes(), _options(threads), providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise GraphError(f"the version cannot be loaded: {error}") from error
        self._view = self.config.view or transforms.View(longest=self.config.size)
        self._indices = np.array([c.index for c in self.catalogue.classes], dtype=np.uint8)
        self._warm_up()

    def view(self, picture: Pixels) -> ModelInput:
        """Return what the graph sees of a picture, (H, W, 3) uint8."""
        seen = evaluation_view(picture, self._view)
        height, width = seen.shape[:2]
        mean = np.array(self.config.image_mean, dtype=np.float32)
        std = np.array(self.config.image_std, dtype=np.float32)
        pixels = np.zeros((3, *self._view.room(height, width)), dtype=np.float32)
        normalised = (seen.astype(np.float32) / 255 - mean) / std
        pixels[:, :height, :width] = normalised.transpose(2, 0, 1)
        return ModelInput(pixels, height, width)

    def run(self, views: Sequence[ModelInput]) -> list[Prediction]:
        """Run views of one padded shape together."""
        batch = np.stack([view.pixels for view in views])
        labels, scores = self._session.run(["labels", "scores"], {"pixel_values": batch})
        return [
            Prediction(
                label[: view.height, : view.width].copy(), score[: view.height, : view.width].copy()
            )
            for view, label, score in zip(views, labels, scores, strict=True)
        ]

    def segmented(self, prediction: Prediction, height: int, width: int) -> Segmented:
        """Return a prediction as class indices at a picture's own size."""
        seen = self._indices[prediction.channels]
        mask = resize_label(seen, height, width)
        counts = np.bincount(seen.ravel(), minlength=256)
        sums = np.bincount(seen.ravel(), weights=prediction.scores.ravel(), minlength=256)
        shown = np.flatnonzero(np.bincount(mask.ravel(), minlength=256))
        return Segmented(mask, {int(i): min(1.0, float(sums[i] / counts[i])) for i in shown})

    def _warm_up(self) -> None:
        """Run once, so that no request pays for what the first run sets up; and look at it."""
        grey = self.view(np.full((self.config.size, self.config.size, 3), 128, dtype=np.uint8))
        try:
            logits, labels, scores = self._session.run(
                ["logits", "labels", "scores"], {"pixel_values": grey.pixels[None]}
            )
        except Exception as error:
            raise GraphError(f"the graph cannot be run: {error}") from error
        known = len(self.catalogue)
        if logits.shape[1] != known:
            raise GraphError(f"the graph has {logits.shape[1]} channels for {known} classes")
        size = (1, *grey.pixels.shape[1:])
        if not labels.shape == scores.shape == size or labels.dtype != np.uint8:
            raise GraphError("the graph's masks do not have the picture's size")


def _options(threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # plans memory for one shape; ours differ
    options.log_severity_level = 3
    # Threads that spin between runs take the processor from the training beside them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
