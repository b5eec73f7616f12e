import pytest
import torch
from torch import nn

from sats_core.models.dropout import BatchDropout

CHANNELS = 64
CPU = torch.device("cpu")


def features(pictures: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(pictures, CHANNELS, 3, 5, generator=torch.Generator().manual_seed(1)).to(
        dtype
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("drawn", [False, True])
def test_it_is_torchs_own_to_the_last_bit(drawn: bool, dtype: torch.dtype) -> None:
    shown = features(6, dtype)
    torch.manual_seed(0)
    expected = nn.Dropout2d(0.1)(shown)
    after = torch.rand(1)
    torch.manual_seed(0)
    dropout = BatchDropout(0.1, CHANNELS)
    if drawn:
        dropout.draw(6, slice(None), CPU)
    assert torch.equal(dropout(shown), expected)
    assert (expected == 0).any()
    assert torch.equal(torch.rand(1), after), "whoever draws next draws the same"


@pytest.mark.parametrize("sizes", [(6,), (1, 5), (2, 2, 2)])
def test_parts_lose_what_the_batch_would(sizes: tuple[int, ...]) -> None:
    shown = features(6)
    torch.manual_seed(0)
    whole = BatchDropout(0.1, CHANNELS)(shown)
    torch.manual_seed(0)
    dropout = BatchDropout(0.1, CHANNELS)
    dropout.draw(6, slice(None), CPU)
    assert torch.equal(torch.cat([dropout(part) for part in shown.split(sizes)]), whole)
    torch.manual_seed(0)
    dropout.draw(6, slice(4, 6), CPU)
    assert torch.equal(dropout(shown[4:]), whole[4:]), "a share of the batch"


def test_a_pass_over_more_than_was_drawn_for_is_an_error() -> None:
    dropout = BatchDropout(0.1, CHANNELS)
    dropout.draw(2, slice(None), CPU)
    with pytest.raises(RuntimeError):
        dropout(features(3))


def test_in_evaluation_nothing_is_lost() -> None:
    dropout = BatchDropout(0.5, CHANNELS).eval()
    dropout.draw(2, slice(None), CPU)
    assert torch.equal(dropout(features(2)), features(2))
