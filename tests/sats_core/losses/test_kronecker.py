import numpy as np
import pytest
import torch
from torch import Tensor

from sats_core.losses import Factors, kronecker_penalty, nearest_sum


def some(make: torch.Generator, blocks: int, size: int, rank: int | None = None) -> Tensor:
    """Symmetric, positive semi-definite matrices (blocks, size, size)."""
    rows = torch.randn(blocks, rank or size, size, generator=make)
    return rows.mT @ rows


def factors(seed: int, blocks: int, inputs: int, outputs: int, rank: int | None = None) -> Factors:
    make = torch.Generator().manual_seed(seed)
    return Factors(some(make, blocks, inputs, rank), some(make, blocks, outputs))


def whole(of: Factors) -> list[np.ndarray]:
    """The matrix of each block, written out: a weight (o, i) is at o * inputs + i."""
    return [
        np.kron(g.double().numpy(), a.double().numpy())
        for a, g in zip(of.inputs, of.outputs, strict=True)
    ]


@pytest.mark.parametrize(("blocks", "inputs", "outputs"), [(1, 4, 3), (5, 3, 1), (2, 1, 4)])
def test_is_the_quadratic_form_of_the_matrix_written_out(
    blocks: int, inputs: int, outputs: int
) -> None:
    of = factors(0, blocks, inputs, outputs)
    change = torch.randn(blocks, outputs, inputs, generator=torch.Generator().manual_seed(1))
    moves = change.double().numpy().reshape(blocks, -1)
    expected = sum(move @ m @ move for move, m in zip(moves, whole(of), strict=True)) / 2
    assert kronecker_penalty(change, of).item() == pytest.approx(expected, rel=1e-5)


def test_its_gradient_is_the_matrix_times_the_change() -> None:
    of = factors(0, 1, 4, 3)
    change = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(1)).requires_grad_()
    kronecker_penalty(change, of).backward()
    assert change.grad is not None
    expected = whole(of)[0] @ change.detach().double().numpy().reshape(-1)
    np.testing.assert_allclose(change.grad.numpy().reshape(-1), expected, rtol=1e-4, atol=1e-4)


class TestNearestSum:
    def rearranged(self, of: Factors, block: int) -> np.ndarray:
        a, g = (side[block].double().numpy().reshape(-1) for side in of)
        return np.outer(a, g)

    @pytest.mark.parametrize("scale", [1.0, 1e-9, 1e6])
    def test_is_the_first_singular_pair_of_the_rearranged_sum(self, scale: float) -> None:
        first, second = factors(0, 2, 4, 3, rank=1), factors(1, 2, 4, 3, rank=2)
        second = Factors(second.inputs * scale, second.outputs)
        found = nearest_sum(first, second)
        for block in range(2):
            total = self.rearranged(first, block) + self.rearranged(second, block)
            left, values, right = np.linalg.svd(total)
            best = values[0] * np.outer(left[:, 0], right[0])
            product = self.rearranged(found, block)
            assert np.linalg.norm(product - best) < 1e-4 * np.linalg.norm(best)

    def test_is_positive_semi_definite(self) -> None:
        found = nearest_sum(factors(0, 3, 4, 3, rank=1), factors(1, 3, 4, 3, rank=1))
        for side in found:
            assert torch.linalg.eigvalsh(side).min() > -1e-5 * side.abs().max()

    @pytest.mark.parametrize(("inputs", "outputs"), [(5, 1), (1, 5)])
    def test_of_one_row_or_column_is_the_sum(self, inputs: int, outputs: int) -> None:
        first, second = factors(0, 3, inputs, outputs), factors(1, 3, inputs, outputs)
        for found, a, b in zip(
            whole(nearest_sum(first, second)), whole(first), whole(second), strict=True
        ):
            np.testing.assert_allclose(found, a + b, rtol=1e-4, atol=1e-5)

    def test_of_a_curvature_with_itself_is_twice_it(self) -> None:
        of = factors(0, 1, 4, 3)
        np.testing.assert_allclose(whole(nearest_sum(of, of))[0], 2 * whole(of)[0], rtol=1e-4)

    def test_with_nothing_is_what_there_was(self) -> None:
        of = factors(0, 1, 4, 3)
        nothing = Factors(torch.zeros_like(of.inputs), torch.zeros_like(of.outputs))
        for found in (nearest_sum(of, nothing), nearest_sum(nothing, of)):
            np.testing.assert_allclose(whole(found)[0], whole(of)[0], rtol=1e-4)
        assert not any(side.any() for side in nearest_sum(nothing, nothing))
