"""One file per loss; each a pure function on tensors."""

from sats_core.losses.attention import QueryKey, attention_transfer
from sats_core.losses.pseudo_labels import (
    PseudoLabels,
    entropy_pseudo_labels,
    median_thresholds,
)
from sats_core.losses.unbiased import unbiased_cross_entropy, unbiased_distillation

__all__ = [
    "PseudoLabels",
    "QueryKey",
    "attention_transfer",
    "entropy_pseudo_labels",
    "median_thresholds",
    "unbiased_cross_entropy",
    "unbiased_distillation",
]
