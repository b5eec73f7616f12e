"""The exported graph of one version: pictures in, class masks out."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, PositiveInt

from app.inference.cutting import Cut, Segmented, cut
from app.inference.sessions import Floats, Sessions
from app.inference.tuning import Plan, Tuner
from app.inference.windows import EnlargingView, in_windows
from app.inference.works import LeftError
from sats_core.classes import Catalogue, ClassInfo
from sats_core.data import transforms
from sats_core.data.prediction import Prediction
from sats_core.data.transforms import Pixels, evaluation_view
from sats_core.version_config import read_version_config

EVERYTHING = Cut()
"""Every class, however unsure the model is."""
LONGEST_KIND = 80
"""Characters of a backbone in a file's name."""
WIDTHS = 256
"""Heads of so many widths are taken for equally fast: steps widen them by a few features each."""


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
    backbone: str | None = None
    head_width: int | None = None


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
        tuner: says how it is run; None: a picture at a time, on one thread.
        window: side of the windows in which enlarged pictures are seen, pixels; at least the side
            at which it sees pictures by itself.

    Raises:
        GraphError: a file is missing or damaged, or config and graph do not fit each other.
    """

    def __init__(
        self, config: Path, graph: Path, tuner: Tuner | None = None, window: int = 0
    ) -> None:
        try:
            self.config = GraphConfig.model_validate(read_version_config(config.read_bytes()))
            self.catalogue = Catalogue(self.config.classes)
            self._sessions = Sessions(graph) if tuner is None else tuner.open(graph)
            self._sessions.session(1)
        except Exception as error:
            raise GraphError(f"the version cannot be loaded: {error}") from error
        self._view = self.config.view or transforms.View(longest=self.config.size)
        mean, std = (np.array(v) for v in (self.config.image_mean, self.config.image_std))
        self._scale = (1 / (255 * std)).astype(np.float32)
        self._shift = (mean / std).astype(np.float32)
        self._indices = np.array([c.index for c in self.catalogue.classes], dtype=np.uint8)
        self._window = max(transforms.padded(window), self._view.side())
        sample = self._warm_up()
        self.plan = Plan() if tuner is None else tuner.plan(self._sessions, self._kind, sample)
        self._sessions.keep({1, self.plan.lone_threads})
        self._sessions.logits(sample[None], self.plan.lone_threads)  # open and warm, too

    @property
    def most(self) -> int:
        """Pictures in one run."""
        return self.plan.batch

    def view_of(self, size: int | None) -> transforms.View:
        """Return how pictures are shown to it: their longer side `size` pixels, else its own way.

        At another size than the one it was trained at it sees things larger or smaller. The view
        raises PictureError of a picture that it would enlarge too far.
        """
        if size is None:
            return self._view
        return EnlargingView(longest=size, own=self._view.side())

    def view(self, picture: Pixels) -> ModelInput:
        """Return what the graph sees of a picture, (H, W, 3) uint8."""
        return self.normalised(evaluation_view(picture, self._view), self._view)

    def normalised(self, seen: Pixels, view: transforms.View) -> ModelInput:
        """Return what the graph takes of a picture at the size at which it sees it."""
        height, width = seen.shape[:2]
        pixels = np.zeros((3, *view.room(height, width)), dtype=np.float32)
        normalised = seen.astype(np.float32)
        normalised *= self._scale
        normalised -= self._shift
        pixels[:, :height, :width] = normalised.transpose(2, 0, 1)
        return ModelInput(pixels, height, width)

    def run(
        self,
        ready: Sequence[ModelInput],
        *,
        alone: bool = False,
        left: Callable[[], bool] = lambda: False,
    ) -> list[Prediction]:
        """Run views together, those of one padded shape at once; several threads may.

        Args:
            ready: the views.
            alone: whether nothing else is run meanwhile.
            left: whether nobody waits for the answers any more; asked between windows.

        Raises:
            GraphError: an answer is not finite.
            LeftError: nobody waits.
        """
        run = partial(self._logits, threads=self.plan.lone_threads if alone else 1, left=left)
        found: dict[int, Prediction] = {}
        for shape in {view.pixels.shape for view in ready}:
            places = [i for i, view in enumerate(ready) if view.pixels.shape == shape]
            pixels = [ready[place].pixels for place in places]
            # A plan holds for pictures as it sees them by itself. One that is enlarged takes many
            # times the memory of such: it is run alone, and what it took is given back.
            if max(shape) > self._view.side():
                enlarged = partial(run, self._sessions.enlarged)
                logits = [in_windows(one, self._window, enlarged) for one in pixels]
            else:
                logits = [*run(self._sessions.logits, np.stack(pixels))]
            for place, answer in zip(places, logits, strict=True):
                found[place] = _prediction(ready[place], answer)
        return [found[place] for place in range(len(ready))]

    def _logits(
        self,
        run: Callable[[Floats, int], Floats],
        pixels: Floats,
        threads: int,
        left: Callable[[], bool],
    ) -> Floats:
        if left():
            raise LeftError
        logits = run(pixels, threads)
        if not np.isfinite(logits).all():
            raise GraphError("the graph's answers to pictures are not finite numbers")
        return logits

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

    @property
    def _kind(self) -> str:
        """Graphs of the same, and of one form, are equally fast, or nearly so."""
        name = re.sub(r"\W+", "-", self.config.backbone or "unnamed")
        width = -(-(self.config.head_width or 0) // WIDTHS) * WIDTHS
        return f"{name[:LONGEST_KIND]}-{width}"

    def _warm_up(self) -> Floats:
        """Run once, so that no request pays for what the first run sets up; and look at it.

        Returns: what it was run on.
        """
        grey = self.view(np.full((self.config.size, self.config.size, 3), 128, dtype=np.uint8))
        try:
            logits = self._sessions.logits(grey.pixels[None], 1)
        except Exception as error:
            raise GraphError(f"the graph cannot be run: {error}") from error
        known = len(self.catalogue)
        if logits.shape[1] != known:
            raise GraphError(f"the graph has {logits.shape[1]} channels for {known} classes")
        return grey.pixels


def _prediction(view: ModelInput, logits: NDArray[np.float32]) -> Prediction:
    """Return the logits of one view of a batch, with where the picture lies on their grid."""
    _, height, width = view.pixels.shape
    _, rows, columns = logits.shape
    # A copy: a view into the batch would keep the whole of it.
    return Prediction(logits.copy(), rows * view.height / height, columns * view.width / width)
