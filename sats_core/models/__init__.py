"""timm backbone -> all-MLP head -> a classifier that grows."""

from sats_core.models.backbone import Backbone, seeded_backbone
from sats_core.models.classifier import GrowingClassifier, balanced_start
from sats_core.models.pretrained import SCRATCH, load_pretrained, start_backbone
from sats_core.models.segmenter import STRIDE, Output, Segmenter

__all__ = [
    "SCRATCH",
    "STRIDE",
    "Backbone",
    "GrowingClassifier",
    "Output",
    "Segmenter",
    "balanced_start",
    "load_pretrained",
    "seeded_backbone",
    "start_backbone",
]
