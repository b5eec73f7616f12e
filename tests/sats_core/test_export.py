from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import nn

from sats_core.classes import Catalogue
from sats_core.errors import ExportError, ModelError
from sats_core.evaluation.confusion import ConfusionMatrix
from sats_core.evaluation.scores import scores_of
from sats_core.export import PROCESSOR, export_version, load_version
from sats_core.job import HeldOutChoice, StepJob
from sats_core.models import Segmenter, seeded_backbone
from sats_core.settings import Limits, StepSettings
from sats_core.training.checkpoint import fingerprint_of
from sats_core.training.start import begin
from sats_core.version_config import HeadName
from tests.fixtures.backbones import TINY


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


def begun(tmp_path: Path, head: HeadName = "all_mlp", old: Path | None = None) -> StepJob:
    return StepJob(
        dataset=tmp_path / "drawn.zip",
        old_version=old,
        new_classes=("dog",) if old else ("cat",),
        indices=(2,) if old else (1,),
        settings=StepSettings(backbone="mit_b0", pretrained=False, size=64),
        head=head,
        held_out=HeldOutChoice(),
        earlier=(),
        limits=Limits(),
        backbone_dir=None,
        threads=1,
        work=tmp_path / "work",
        result=tmp_path,
    )


@pytest.mark.parametrize("head", ["softmax", "scaled"])
def test_a_block_counts_the_positions_of_each_picture_in_the_graph_too(
    tmp_path: Path, head: HeadName
) -> None:
    torch.manual_seed(0)
    model = Segmenter(seeded_backbone(TINY, 0), [3], head=head).eval()
    picture = torch.randn(1, 3, 32, 32)
    before = model(picture)
    for part in ("project", "back"):
        nn.init.normal_(model.get_submodule(f"head.block.{part}").get_parameter("weight"), std=0.3)
    assert (model(picture) - before).abs().max() > 0.1, "the block says something"
    catalogue = Catalogue.empty().grow(["cat", "dog"])
    scores = scores_of(ConfusionMatrix(3), catalogue, {}, 0)
    probes = [torch.randn(1, 3, 64, 64)]
    settings = StepSettings(pretrained=False, size=64).model_dump(mode="json")
    config = {"size": 64, "settings": settings, "backbone_start": "scratch", "trained_pictures": 0}
    export_version(tmp_path / "version", model, catalogue, scores, None, config, probes)
    graph = onnxruntime.InferenceSession(
        tmp_path / "version" / "model.onnx", providers=["CPUExecutionProvider"]
    )
    for shape in ((1, 3, 32, 32), (2, 3, 64, 96), (1, 3, 128, 128)):
        pictures = torch.randn(shape)
        (served,) = graph.run(["logits"], {"pixel_values": pictures.numpy()})
        with torch.no_grad():
            torch.testing.assert_close(
                torch.from_numpy(served), model(pictures), atol=1e-3, rtol=1e-3
            )


@pytest.mark.parametrize("head", ["softmax", "scaled", "focal"])
def test_a_version_with_another_head_comes_back_and_is_no_hugging_face_model(
    tmp_path: Path, head: HeadName
) -> None:
    start = begin(begun(tmp_path, head))
    model = start.model.eval()
    for module in model.head.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.normal_(module.weight, std=0.03)
    probes = [torch.randn(1, 3, 64, 64), torch.randn(1, 3, 32, 96)]
    scores = scores_of(ConfusionMatrix(2), start.catalogue, {}, 0)
    settings = start.settings.model_dump(mode="json")
    config = {"size": 64, "settings": settings, "backbone_start": "scratch", "trained_pictures": 0}
    version = tmp_path / "version"

    export_version(version, model, start.catalogue, scores, None, config, probes)

    assert not (version / PROCESSOR).exists()
    assert f"no Hugging Face model: its head is `{head}`" in (version / "README.md").read_text()
    loaded = load_version(version)
    assert loaded.model.head.name == loaded.config["head"] == head
    with torch.no_grad():
        # Weights that lie otherwise in memory give another last digit.
        torch.testing.assert_close(loaded.model(probes[0]), model(probes[0]), atol=1e-3, rtol=1e-3)
    # A later step keeps its head, whatever it is asked for.
    assert begin(begun(tmp_path, "all_mlp", version)).model.head.name == head


def test_a_checkpoint_is_of_a_head(tmp_path: Path) -> None:
    found = {fingerprint_of(begun(tmp_path, head)) for head in ("all_mlp", "softmax", "scaled")}
    assert len(found) == 3
