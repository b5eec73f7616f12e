"""The exported graph of one version: pictures in, class masks out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from pydantic import BaseModel, Field, PositiveInt

from app.inference.cutting import Cut, Segmented, cut
from sats_core.classes import Catalogue, ClassInfo
from sats_core.data import transforms
from sats_core.data.prediction import Prediction
from sats_core.data.transforms import Pixels, evaluation_view
from sats_core.version_config import read_version_config

EVERYTHING = Cut()
"""Every class, however unsure the model is."""


class GraphError(Exception):
    """The files of a version are no graph that can be served, or one that answers no numbers."""


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

    def shown(self, height: int, width: int) -> tuple[int, int]:
        """Return the (height, width) at which the graph sees a picture of that size."""
        return self._view.shown(height, width)

    def view(self, picture: Pixels) -> ModelInput:
        """Return what the graph sees of a picture, (H, W, 3) uint8."""
        return self.normalised(evaluation_view(picture, self._view))

    def normalised(self, seen: Pixels) -> ModelInput:
        """Return what the graph takes of a picture at the size at which it sees it."""
        height, width = seen.shape[:2]
        mean = np.array(self.config.image_mean, dtype=np.float32)
        std = np.array(self.config.image_std, dtype=np.float32)
        pixels = np.zeros((3, *self._view.room(height, width)), dtype=np.float32)
        normalised = (seen.astype(np.float32) / 255 - mean) / std
        pixels[:, :height, :width] = normalised.transpose(2, 0, 1)
        return ModelInput(pixels, height, width)

    def run(self, views: Sequence[ModelInput]) -> list[Prediction]:
        """Run views of one padded shape together.

        Raises:
            GraphError: an answer is not finite.
        """
        batch = np.stack([view.pixels for view in views])
        (logits,) = self._session.run(["logits"], {"pixel_values": batch}, _path_to_logits())
        if not np.isfinite(logits).all():
            raise GraphError("the graph's answers to pictures are not finite numbers")
        return [_prediction(view, answer) for view, answer in zip(views, logits, strict=True)]

    def segmented(
        self,
        prediction: Prediction,
        height: int,
        width: int,
        how: Cut = EVERYTHING,
        has_left: Callable[[], bool] = lambda: False,
    ) -> Segmented:
        """Return a prediction as class indices at a picture's own size.

        Raises:
            LeftError: nobody waits for it any more; `has_left` is asked often.
        """
        return cut(prediction, self._indices, height, width, how, has_left)

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


def _prediction(view: ModelInput, logits: NDArray[np.float32]) -> Prediction:
    """Return the logits of one view of a batch, with where the picture lies on their grid."""
    _, height, width = view.pixels.shape
    _, rows, columns = logits.shape
    # A copy: a view into the batch would keep the whole of it.
    return Prediction(logits.copy(), rows * view.height / height, columns * view.width / width)


def _path_to_logits() -> Any:
    """Leave out what the graph makes of its logits: it is made at the picture's size instead."""
    options = onnxruntime.RunOptions()
    options.only_execute_path_to_fetches = True
    return options


def _options(threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # plans memory for one shape; ours differ
    options.log_severity_level = 3
    # Threads that spin between runs take the processor from the training beside them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
