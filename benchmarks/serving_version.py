"""What is served: one exported version, and the pictures that are sent."""

from pathlib import Path

import numpy as np
import torch

from sats_core.classes import Catalogue
from sats_core.evaluation.confusion import ConfusionMatrix
from sats_core.evaluation.scores import Scores, scores_of
from sats_core.export import export_version, load_version
from sats_core.models import Segmenter, seeded_backbone
from tests.fixtures.drawings import draw, encoded

NAMES = tuple(f"class{number:02d}" for number in range(1, 21))
"""As many as Pascal VOC has."""
PICTURES = 8


def make_version(directory: Path, backbone: str, size: int, weights: Path | None = None) -> None:
    """Export a version that sees pictures at `size` pixels.

    Args:
        directory: must not exist yet.
        backbone: its name; of `weights` the one that they have.
        size: the longer side of what the model sees, pixels.
        weights: a version's directory; None draws weights, the same each time.

    Raises:
        ValueError: the weights are of another backbone.
    """
    if weights is None:
        torch.manual_seed(0)
        catalogue = Catalogue.empty().grow(NAMES, range(1, len(NAMES) + 1))
        model = Segmenter(seeded_backbone(backbone, 0), catalogue.sizes())
        scores = _unknown(catalogue)
    else:
        loaded = load_version(weights)
        if loaded.config["backbone"] != backbone:
            raise ValueError(f"{weights} has {loaded.config['backbone']}, not {backbone}")
        model, catalogue, scores = loaded.model, loaded.catalogue, loaded.scores
        model.view = None  # its own would hold against `size`
    config = {
        "size": size,
        "settings": {"method": "finetune", "epochs": 1},
        "backbone_start": "scratch",
        "trained_pictures": 1,
    }
    probes = [torch.randn(1, 3, size, size), torch.randn(2, 3, size, 64)]
    with torch.random.fork_rng():
        export_version(directory, model, catalogue, scores, None, config, probes)


def write_pictures(folder: Path, size: int) -> list[Path]:
    """Draw the pictures that are sent, `size` pixels square, as JPEG files."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    paths = [folder / f"{number}.jpg" for number in range(PICTURES)]
    for path in paths:
        path.write_bytes(encoded(draw(rng, NAMES[:6], size, objects=5)[0]))
    return paths


def _unknown(catalogue: Catalogue) -> Scores:
    return scores_of(ConfusionMatrix(len(catalogue)), catalogue, {}, pictures=0)
