"""A quadratic penalty whose curvature is a Kronecker product, layer by layer.

K-FAC (Martens & Grosse, ICML 2015) as a penalty against forgetting: Ritter et al., NeurIPS 2018;
Lee et al., CVPR 2020 (arXiv 2004.07507).
"""

from typing import NamedTuple

import torch
from torch import Tensor

TURNS = 100
"""Of the iteration that finds the nearest product; each costs a product with a 2 x 2 matrix."""


class Factors(NamedTuple):
    """The curvature of one layer, block-diagonal: in each block the product of two factors.

    A block is a matrix of weights (O, I). With vec stacking its rows, its curvature is
    `outputs` (x) `inputs`.

    Attributes:
        inputs: (B, I, I), symmetric, positive semi-definite.
        outputs: (B, O, O), likewise.
    """

    inputs: Tensor
    outputs: Tensor


def kronecker_penalty(change: Tensor, factors: Factors) -> Tensor:
    """Return half of vec(D)^T (G (x) A) vec(D) = trace(G D A D^T), summed over the blocks.

    Args:
        change: (B, O, I), what the weights D have moved by.
        factors: A and G of each block.

    Returns:
        A scalar with its first gradient, G D A, which costs nothing more; there is no second.
    """
    gradient = factors.outputs @ change.detach() @ factors.inputs
    return (gradient * (change - change.detach() / 2)).sum()


def nearest_sum(first: Factors, second: Factors) -> Factors:
    """Return the product that is nearest to the sum of two, block by block, in Frobenius norm.

    A sum of two Kronecker products is none. Rearranged (Van Loan & Pitsianis, 1993) it is a matrix
    of rank two, and the nearest product its first singular pair, whose vectors are sums of the two
    vectors on their side: power iteration on 2 x 2 Gram matrices finds them. The factors are
    positive semi-definite, so the Gram matrices and the weights of the sums are not negative, and
    what comes out is positive semi-definite too. With blocks of one row or one column the sum is a
    product, and is found exactly.
    """
    # Curvatures may be tiny: in double precision, and each factor of length 1.
    inputs = torch.stack([first.inputs, second.inputs], dim=1).double()
    outputs = torch.stack([first.outputs, second.outputs], dim=1).double()
    long, wide = _lengths(inputs), _lengths(outputs)
    counts = (long * wide)[:, :, 0, 0]  # of the sum_i counts_i A_i (x) G_i
    left, right = _gram(inputs / long), _gram(outputs / wide)
    x = y = torch.ones_like(counts)
    for _ in range(TURNS):
        y = counts * _times(left, x) / _form(left, x)
        x = counts * _times(right, y) / _form(right, y)
    y = counts * _times(left, x) / _form(left, x)
    return Factors(
        ((x[:, :, None, None] / long) * inputs).sum(dim=1).to(first.inputs),
        ((y[:, :, None, None] / wide) * outputs).sum(dim=1).to(first.outputs),
    )


def _lengths(side: Tensor) -> Tensor:
    """Return the Frobenius norm (B, 2, 1, 1) of each factor; 1 of one that is zero."""
    lengths = torch.linalg.matrix_norm(side)[:, :, None, None]
    return torch.where(lengths > 0, lengths, torch.ones_like(lengths))


def _gram(side: Tensor) -> Tensor:
    """Return the inner products (B, 2, 2) of two factors in each block."""
    flat = side.flatten(2)
    return flat @ flat.mT


def _times(gram: Tensor, weights: Tensor) -> Tensor:
    """Return K w, (B, 2)."""
    return (gram @ weights[:, :, None])[:, :, 0]


def _form(gram: Tensor, weights: Tensor) -> Tensor:
    """Return w^T K w, (B, 1); 1 where it is zero."""
    form = (weights * _times(gram, weights)).sum(dim=1, keepdim=True)
    return torch.where(form > 0, form, torch.ones_like(form))
