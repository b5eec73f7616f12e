"""The curvature of a base step, which all methods share and one of them wants."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from torch import Tensor

from benchmarks.learning_data import Bench
from benchmarks.learning_plan import Sequence
from sats_core.data.labels import step_lookup
from sats_core.evaluation.predict import labelled_input
from sats_core.files import whole
from sats_core.method_settings import KfacSettings
from sats_core.methods.curvature import Curvature, curvature_of
from sats_core.training.start import Start


def with_base_curvature(run: Sequence, bench: Bench, start: Start) -> Start:
    """Give the base version what it would keep had it been trained by `kfac`; others have theirs.

    It is found once a run, on the base step's pictures, and stays in the run's folder.
    """
    settings, old = start.settings.for_method(), start.old
    if not isinstance(settings, KfacSettings) or old is None or old.curvature:
        return start
    path = run.folder / "base-curvature.safetensors"
    if not path.exists():
        found = curvature_of(old.model, _shown(bench, start, settings.pictures), run.seed)
        with whole(path) as partial:
            found.save(partial)
    return replace(start, old=replace(old, curvature=Curvature.load(path, old.model)))


def _shown(bench: Bench, start: Start, most: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield pictures of the base step as evaluation sees them, spread evenly over all."""
    if start.old is None:
        raise ValueError("there is no base step")
    channels = {name: place for place, name in enumerate(bench.steps[0], start=1)}
    values = step_lookup(bench.reader.classes, channels)
    pictures = bench.pictures(0)
    chosen = np.linspace(0, len(pictures) - 1, min(most, len(pictures))).astype(int)
    for index in chosen.tolist():
        read = bench.reader.read(pictures[index])
        label = values[read.label]
        yield labelled_input(read.picture, label, start.settings.size, start.old.model)
