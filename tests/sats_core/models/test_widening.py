"""A head with more features behind its own: in the same layers, as one function."""

import copy

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sats_core.models import Segmenter, seeded_backbone
from sats_core.models.heads import HEADS
from sats_core.segformer.weights import from_hub, to_hub
from sats_core.serving_graph import ServingGraph
from sats_core.version_config import ALL_MLP
from tests.fixtures.backbones import TINY

SIZES, MORE = [3, 2], 5


@pytest.fixture(scope="module")
def narrow() -> Segmenter:
    torch.manual_seed(0)
    model = Segmenter(seeded_backbone(TINY, 0), SIZES)
    with torch.no_grad():
        for _ in range(3):  # batch norm gets statistics of its own
            model.train()(torch.randn(4, 3, 64, 64))
    return model.eval()


@pytest.fixture(scope="module")
def units(narrow: Segmenter) -> tuple[Tensor, Tensor]:
    make = torch.Generator().manual_seed(1)
    stages = sum(narrow.backbone.channels)
    return torch.randn(MORE, stages, generator=make), torch.randn(MORE, generator=make)


@pytest.fixture(scope="module")
def wide(narrow: Segmenter, units: tuple[Tensor, Tensor]) -> Segmenter:
    model = copy.deepcopy(narrow)
    model.widen(*units)
    return model


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def test_old_features_stay_and_new_ones_read_the_stages(
    narrow: Segmenter, wide: Segmenter, units: tuple[Tensor, Tensor], pictures: Tensor
) -> None:
    stages = narrow.backbone(pictures)
    size = stages[0].shape[2:]
    every = torch.cat(
        [F.interpolate(s, size, mode="bilinear", align_corners=False) for s in stages], dim=1
    )
    weight, bias = units
    more = F.conv2d(every, weight[:, :, None, None], bias).relu()
    features = wide.head(stages)
    torch.testing.assert_close(features[:, : narrow.head.width], narrow.head(stages))
    torch.testing.assert_close(features[:, narrow.head.width :], more, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_no_row_minds_them_yet(narrow: Segmenter, wide: Segmenter, pictures: Tensor) -> None:
    torch.testing.assert_close(wide(pictures), narrow(pictures))


@torch.no_grad()
def test_they_can_be_widened_again_and_trained(wide: Segmenter, pictures: Tensor) -> None:
    again = copy.deepcopy(wide)
    again.widen(torch.ones(2, sum(wide.backbone.channels)), torch.ones(2))
    assert again.head.width == wide.head.width + 2
    torch.testing.assert_close(again(pictures), wide(pictures))
    again.train_step(updates_norms=False)
    with torch.enable_grad():
        again(pictures).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in again.parameters())


@torch.no_grad()
def test_it_is_served_as_the_same_function(
    wide: Segmenter, pictures: Tensor, units: tuple[Tensor, Tensor]
) -> None:
    model = copy.deepcopy(wide)
    for step in model.classifier.convolutions():
        torch.nn.init.normal_(step.weight)  # so that the new features matter
    logits, _, _ = ServingGraph(model)(pictures)
    torch.testing.assert_close(logits, model(pictures), atol=2e-3, rtol=1e-3)


def test_it_goes_to_hugging_face_and_back(wide: Segmenter) -> None:
    state = wide.state_dict()
    hub = to_hub(state)
    width = wide.head.width
    assert hub["decode_head.linear_fuse.weight"].shape == (width, 4 * width, 1, 1)
    for name, tensor in from_hub(hub, state, SIZES).items():
        assert torch.equal(tensor, state[name]), name


@pytest.mark.parametrize("name", [name for name in HEADS if name != ALL_MLP])
def test_a_head_that_would_mix_them_is_not_widened(name: str, units: tuple[Tensor, Tensor]) -> None:
    model = Segmenter(seeded_backbone(TINY, 0), SIZES, head=name)
    with pytest.raises(ValueError, match=f"of kind {name} cannot be widened"):
        model.widen(*units)
