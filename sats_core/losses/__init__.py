"""One file per loss; each a pure function on tensors."""

from sats_core.losses.attention import QueryKey, attention_transfer
from sats_core.losses.collision import gradient_collision
from sats_core.losses.distillation import distillation
from sats_core.losses.kronecker import Factors, kronecker_penalty, nearest_sum
from sats_core.losses.pod import local_pod, pod_distance, with_background_summed
from sats_core.losses.pseudo_labels import (
    PseudoLabels,
    Total,
    alone,
    entropy_pseudo_labels,
    median_thresholds,
    released_thresholds,
    with_truth,
    without_truth,
)
from sats_core.losses.unbiased import (
    truthful_cross_entropy,
    unbiased_cross_entropy,
    unbiased_distillation,
)

__all__ = [
    "Factors",
    "PseudoLabels",
    "QueryKey",
    "Total",
    "alone",
    "attention_transfer",
    "distillation",
    "entropy_pseudo_labels",
    "gradient_collision",
    "kronecker_penalty",
    "local_pod",
    "median_thresholds",
    "nearest_sum",
    "pod_distance",
    "released_thresholds",
    "truthful_cross_entropy",
    "unbiased_cross_entropy",
    "unbiased_distillation",
    "with_background_summed",
    "with_truth",
    "without_truth",
]
