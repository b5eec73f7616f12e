"""Every head that a model may have."""

from typing import get_args

import pytest
import torch
from torch import Tensor

from sats_core.losses import complementary_attention
from sats_core.models import Segmenter, seeded_backbone
from sats_core.models.heads import FOCAL_WEIGHT, HEADS, FocalHead
from sats_core.version_config import ALL_MLP, HeadName
from tests.fixtures.backbones import TINY

CHANNELS, WIDTH = (3, 5, 7, 9), 16


def stages() -> list[Tensor]:
    make = torch.Generator().manual_seed(1)
    return [
        torch.randn(2, channels, 8 >> stage, 12 >> stage, generator=make)
        for stage, channels in enumerate((3, 5, 7, 9))
    ]


def test_names_agree() -> None:
    assert set(HEADS) == set(get_args(HeadName))
    assert all(kind.name == name for name, kind in HEADS.items())


@pytest.mark.parametrize("name", get_args(HeadName))
class TestEveryHead:
    @pytest.fixture
    def model(self, name: HeadName) -> Segmenter:
        torch.manual_seed(0)
        model = Segmenter(seeded_backbone(TINY, 0), [3], head=name).eval()
        with torch.no_grad():
            for weight in model.head.parameters():
                weight.normal_(std=0.2)
        return model

    def test_what_is_observed_is_what_ran(self, name: HeadName, model: Segmenter) -> None:
        pictures = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(2))
        with torch.no_grad():
            expected, output = model(pictures), model.observe(pictures)
            logits, seen = model.look(pictures)
        assert torch.equal(output.logits, expected)
        assert torch.equal(logits, expected)
        assert torch.equal(seen.features, output.features)
        assert len(output.attention) == 4 + (name == "softmax")
        assert len(output.scaled) == (name == "scaled")
        for a in (*output.attention[4:], *output.scaled):
            assert a.grid == (16, 24)
            assert a.query.shape == (2, 4, 16 * 24, 32)

    def test_features_are_the_refined_mix(self, model: Segmenter) -> None:
        pictures = torch.randn(1, 3, 32, 64, generator=torch.Generator().manual_seed(2))
        with torch.no_grad():
            seen = model.backbone(pictures)
            pixels = model.head.merged(seen).permute(0, 2, 3, 1)
            refined = model.head.refined(pixels).permute(0, 3, 1, 2)
            torch.testing.assert_close(refined, model.head(seen))

    def test_every_weight_learns(self, model: Segmenter) -> None:
        model.head(model.backbone(torch.randn(2, 3, 64, 64))).square().sum().backward()
        for weight in model.head.parameters():
            assert weight.grad is not None
            assert weight.grad.any()

    def test_weights_are_those_of_the_plain_head_and_more(self, name: HeadName) -> None:
        plain, other = (HEADS[n](CHANNELS, WIDTH).state_dict() for n in (ALL_MLP, name))
        assert {key: other[key].shape for key in plain} == {k: t.shape for k, t in plain.items()}


def test_focal_attention_leaves_features_out() -> None:
    torch.manual_seed(0)
    head = FocalHead(CHANNELS, WIDTH).eval()
    with torch.no_grad():
        seen = head.observe(stages())
        assert seen.foci is not None
        assert seen.foci.shape == (2, 3, 8, 12)
        powers = seen.foci.exp()
        standard = powers[:, :1] / powers.sum(1, keepdim=True)
        torch.testing.assert_close(seen.features, head.merged(stages()) * standard)


def test_the_focal_heads_own_term_is_its_loss() -> None:
    torch.manual_seed(0)
    head = FocalHead(CHANNELS, WIDTH)
    seen = head.observe(stages())
    assert seen.foci is not None
    labels = torch.randint(0, 3, (2, 8, 12), generator=torch.Generator().manual_seed(0))
    expected = FOCAL_WEIGHT * complementary_attention(seen.foci, labels)
    torch.testing.assert_close(head.terms(seen, labels)["complementary_attention"], expected)


def test_the_other_heads_have_no_terms_of_their_own() -> None:
    labels = torch.ones(2, 8, 12, dtype=torch.long)
    for name in ("all_mlp", "softmax", "scaled"):
        head = HEADS[name](CHANNELS, WIDTH)
        assert head.terms(head.observe(stages()), labels) == {}
