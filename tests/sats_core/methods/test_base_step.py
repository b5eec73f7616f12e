"""A base step asks the head what it wants of itself; SATS holds the head's attention too."""

import copy

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sats_core.losses import attention_transfer, scaled_attention_transfer
from sats_core.methods import BaseStep, Sats, make_method
from sats_core.models import Segmenter, seeded_backbone
from sats_core.settings import StepSettings
from sats_core.version_config import HeadName
from tests.fixtures.backbones import TINY


def model_of(head: HeadName, channels: int = 3) -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(seeded_backbone(TINY, 0), [channels], head=head).eval()


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    make = torch.Generator().manual_seed(1)
    labels = torch.zeros(2, 64, 64, dtype=torch.long)
    labels[:, 16:48, 16:40] = 2
    return torch.randn(2, 3, 64, 64, generator=make), labels


@pytest.mark.parametrize("method", ["sats", "finetune", "frozen"])
def test_a_base_step_is_cross_entropy(method: str, batch: tuple[Tensor, Tensor]) -> None:
    model = model_of("all_mlp")
    made = make_method(StepSettings(method=method), model, None)
    assert isinstance(made, BaseStep)
    logits = F.interpolate(model(batch[0]), size=(64, 64), mode="bilinear")
    terms = made.loss_terms(*batch)
    assert set(terms) == {"cross_entropy"}
    torch.testing.assert_close(terms["cross_entropy"], F.cross_entropy(logits, batch[1]))


def test_the_focal_head_is_told_where_objects_are(batch: tuple[Tensor, Tensor]) -> None:
    model = model_of("focal")
    made = make_method(StepSettings(), model, None)
    assert isinstance(made, BaseStep)
    terms = made.loss_terms(*batch)
    assert set(terms) == {"cross_entropy", "complementary_attention"}
    _, seen = model.look(batch[0])
    torch.testing.assert_close(
        terms["complementary_attention"],
        model.head.terms(seen, batch[1])["complementary_attention"],
    )


@pytest.mark.parametrize("head", ["softmax", "scaled"])
def test_sats_holds_the_heads_attention(head: HeadName, batch: tuple[Tensor, Tensor]) -> None:
    old = model_of(head)
    new = copy.deepcopy(old)
    new.classifier.grow(1)
    with torch.no_grad():
        new.head.block.project.weight.mul_(1.5)  # type: ignore[operator, union-attr]
    labels = (batch[1] > 0).long() * 3
    made = make_method(StepSettings(method="sats"), new.eval(), old)
    assert isinstance(made, Sats)
    found = made.loss_terms(batch[0], labels)["attention_transfer"]
    # The backbone has not moved: what is left is the block's.
    was, now = old.observe(batch[0]), new.observe(batch[0])
    assert attention_transfer(was.attention[:4], now.attention[:4], labels) == 0
    pseudo = made.supervise(labels, F.interpolate(was.logits, (64, 64), mode="bilinear")).pseudo
    if head == "scaled":
        expected = scaled_attention_transfer(was.scaled, now.scaled, pseudo)
    else:
        expected = attention_transfer(was.attention[4:], now.attention[4:], pseudo)
    assert expected > 0
    torch.testing.assert_close(found, 20 * expected)
