from pathlib import Path

import pytest
import torch

from sats_core.classes import Catalogue
from sats_core.errors import ExportError, ModelError
from sats_core.evaluation.confusion import ConfusionMatrix
from sats_core.evaluation.scores import scores_of
from sats_core.export import export_version
from sats_core.models import Segmenter, seeded_backbone


def test_a_graph_that_cannot_be_made_is_no_wrong_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sats_core.export.OPSET", 1)  # knows nothing that the model needs
    model = Segmenter(seeded_backbone("pvt_v2_b0", 0), [2]).eval()
    catalogue = Catalogue.empty().grow(["cat"])
    scores = scores_of(ConfusionMatrix(2), catalogue, {}, 0)
    probe = torch.zeros(1, 3, 64, 64)
    with pytest.raises(ExportError, match="cannot be made"):
        export_version(tmp_path / "version", model, catalogue, scores, None, {"size": 64}, [probe])


def test_a_model_whose_answers_are_no_numbers_is_refused(tmp_path: Path) -> None:
    model = Segmenter(seeded_backbone("pvt_v2_b0", 0), [2]).eval()
    model.head.finish[0].running_var.fill_(-1)  # type: ignore[union-attr, operator]
    catalogue = Catalogue.empty().grow(["cat"])
    scores = scores_of(ConfusionMatrix(2), catalogue, {}, 0)
    with pytest.raises(ModelError, match="not finite"):
        export_version(
            tmp_path / "version",
            model,
            catalogue,
            scores,
            None,
            {"size": 64},
            [torch.zeros(1, 3, 64, 64)],
        )
    assert not (tmp_path / "version").exists()
