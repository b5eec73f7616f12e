"""The serving side against the learning side: an exported version answers as torch evaluates."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from app.inference.exported_graph import Graph
from sats_core.classes import Catalogue
from sats_core.data.prediction import Floats, _enlarged
from sats_core.data.transforms import Pixels
from sats_core.errors import ModelError
from sats_core.evaluation.confusion import ConfusionMatrix
from sats_core.evaluation.predict import predict, predicted
from sats_core.evaluation.scores import scores_of
from sats_core.export import export_version
from sats_core.models import Segmenter, seeded_backbone
from tests.fixtures.examples import examples
from tests.sats_core.training.drawn_steps import scenes, trained

SIZE = 96
DIFFERENT = 0.005
"""Most of a picture's pixels that the two may label differently; one, of a small picture."""
MARGIN = 1e-3
"""Between the best two logits of such a pixel: two computations are as far apart."""
CATALOGUE = Catalogue.empty().grow(["cat", "dog"], [1, 2]).grow(["sheep"], [9])
SCORES = scores_of(ConfusionMatrix(len(CATALOGUE)), CATALOGUE, {}, pictures=0)
CONFIG = {
    "size": SIZE,
    "settings": {"method": "sats", "epochs": 1},
    "backbone_start": "scratch",
    "trained_pictures": 1,
}


def seeded_model() -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(seeded_backbone("pvt_v2_b0", 0), CATALOGUE.sizes()).eval()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Segmenter, Graph]:
    """A model that has learned a little, so that its classes have regions, and its graph."""
    folder, names = tmp_path_factory.mktemp("exported"), ("fish", "cup", "leaf")
    with pytest.MonkeyPatch.context() as patch:
        pictures = scenes(names, names, 16, 0)
        chosen = {"epochs": 2, "batch_size": 4, "learning_rate": 2e-3}
        model, _ = trained(seeded_model(), None, pictures, folder / "work", patch, **chosen)
    probes = [torch.randn(1, 3, 64, 96), torch.randn(2, 3, 96, 32)]
    export_version(folder / "version", model, CATALOGUE, SCORES, None, CONFIG, probes)
    files = (folder / "version" / name for name in ("config.json", "model.onnx"))
    return model, Graph(*files)


@pytest.mark.filterwarnings("ignore")  # torch's and onnx's, about the exporter
@settings(max_examples=examples(48))
@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 4))
@example(1, 400, 1)
@example(400, 1, 4)
@example(33, 33, 2)
def test_the_graph_answers_as_evaluation_does(
    exported: tuple[Segmenter, Graph], height: int, width: int, count: int
) -> None:
    model, graph = exported
    assert graph.catalogue == CATALOGUE
    indices = np.array([c.index for c in CATALOGUE.classes], dtype=np.uint8)
    drawn = [picture for picture, _ in scenes(("fish", "cup"), (), count, height)]
    pictures = [np.asarray(Image.fromarray(one).resize((width, height))) for one in drawn]
    answers = graph.run([graph.view(picture) for picture in pictures])
    assert len(answers) == count
    for picture, answer in zip(pictures, answers, strict=True):
        served = graph.segmented(answer, height, width).mask
        evaluated = indices[predict(model, picture, SIZE)]
        assert served.shape == evaluated.shape == (height, width)
        differs = served != evaluated
        assert differs.sum() <= max(1, DIFFERENT * differs.size)
        assert (margins(model, picture)[differs] <= MARGIN).all()


def margins(model: Segmenter, picture: Pixels) -> Floats:
    """Return how far the best two logits of each pixel are apart, at the picture's own size."""
    height, width = picture.shape[:2]
    apart = np.empty((height, width), dtype=np.float32)
    tiles = _enlarged(predicted(model, picture, SIZE), height, width, np.inf)
    for rows, columns, _, logits in tiles:
        second, best = np.partition(logits, -2, axis=0)[-2:]
        apart[rows, columns] = best - second
    return apart


@pytest.mark.filterwarnings("ignore")
def test_the_model_that_is_compared_tells_classes_apart(exported: tuple[Segmenter, Graph]) -> None:
    model, _ = exported
    found = [predict(model, picture, SIZE) for picture, _ in scenes(("fish", "cup"), (), 4, 0)]
    assert len(np.unique(found)) > 1


def test_evaluation_answers_nothing_that_is_no_number() -> None:
    model = seeded_model()
    with torch.no_grad():
        next(model.backbone.parameters()).fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite numbers"):
        predict(model, np.zeros((20, 30, 3), dtype=np.uint8), SIZE)
