"""The exported form of a model computes what the model does."""

from typing import get_args

import pytest
import torch
from torch import nn

from sats_core.models import Segmenter, seeded_backbone
from sats_core.models.heads import NonLocalHead
from sats_core.serving_graph import ServingGraph
from sats_core.version_config import HeadName


def learned(backbone: str, head: HeadName = "all_mlp") -> Segmenter:
    """A model of three steps, whose batch norm has seen pictures."""
    torch.manual_seed(0)
    model = Segmenter(seeded_backbone(backbone, 0), [3, 1, 2], head=head)
    for module in model.head.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.randn(module.num_features)
            module.running_var = torch.rand(module.num_features) + 0.1
            nn.init.normal_(module.weight, 1, 0.3)
            nn.init.normal_(module.bias)
    if isinstance(model.head, NonLocalHead):
        nn.init.normal_(model.head.block.back.weight, std=0.3)  # it starts as nothing
    return model.eval()


@pytest.mark.parametrize(
    ("backbone", "head"),
    [("pvt_v2_b0", "all_mlp"), *(("mit_b0", head) for head in get_args(HeadName))],
)
@torch.no_grad()
def test_logits_labels_and_scores_are_the_models(backbone: str, head: HeadName) -> None:
    model = learned(backbone, head)
    graph = ServingGraph(model)
    for shape in [(1, 3, 96, 128), (2, 3, 32, 64), (1, 3, 160, 32), (1, 3, 45, 70)]:
        pictures = torch.randn(shape)
        expected = model(pictures)
        logits, labels, scores = graph(pictures)
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
        assert labels.shape == scores.shape == (shape[0], *shape[2:])
        assert labels.dtype == torch.uint8
        assert labels.max() < 6


@torch.no_grad()
def test_every_weight_of_head_and_classifier_counts() -> None:
    model, pictures = learned("mit_b0"), torch.randn(1, 3, 64, 64)
    graph = ServingGraph(model)
    before = graph(pictures)[0]
    for name, weight in [*model.head.named_parameters(), *model.classifier.named_parameters()]:
        kept = weight.clone()
        weight += torch.randn_like(weight)
        assert not torch.allclose(graph(pictures)[0], before, atol=1e-3), name
        weight.copy_(kept)
    assert torch.equal(graph(pictures)[0], before)
