"""The serving side against the learning side: an exported version answers as torch evaluates."""

from pathlib import Path

import numpy as np
import pytest
import torch

from app.inference.exported_graph import Graph
from sats_core.classes import Catalogue
from sats_core.evaluation.predict import predict
from sats_core.evaluation.scores import Scores
from sats_core.export import export_version
from sats_core.models import Segmenter, seeded_backbone

SIZE = 96
CATALOGUE = Catalogue.empty().grow(["cat", "dog"], [1, 2]).grow(["sheep"], [9])
SCORES = Scores(
    iou=dict.fromkeys(CATALOGUE.names),
    introduced={},
    forgetting={},
    miou_old=None,
    miou_new=None,
    miou_all=None,
    mean_forgetting=None,
    pixel_accuracy=None,
    pictures=0,
)
CONFIG = {
    "size": SIZE,
    "settings": {"method": "sats", "epochs": 1},
    "backbone_start": "scratch",
    "trained_pictures": 1,
}


def seeded_model() -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(seeded_backbone("pvt_v2_b0", 0), CATALOGUE.sizes()).eval()


@pytest.mark.filterwarnings("ignore")  # torch's and onnx's, about the exporter
def test_the_graph_answers_as_evaluation_does(tmp_path: Path) -> None:
    model = seeded_model()
    directory = tmp_path / "version"
    probes = [torch.randn(1, 3, 64, 96), torch.randn(2, 3, 96, 32)]
    export_version(directory, model, CATALOGUE, SCORES, None, CONFIG, probes)
    graph = Graph(directory / "config.json", directory / "model.onnx", threads=1)
    assert graph.catalogue == CATALOGUE
    indices = np.array([c.index for c in CATALOGUE.classes], dtype=np.uint8)
    rng = np.random.default_rng(0)
    for height, width in ((60, 90), (200, 50), (33, 33), (1, 40)):
        picture = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        served = graph.segmented(graph.run([graph.view(picture)])[0], height, width).mask
        evaluated = indices[predict(model, picture, SIZE)]
        assert (served == evaluated).mean() >= 0.99, (height, width)
