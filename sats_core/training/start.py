"""What a step starts from: the old model, grown, or a new one."""

from dataclasses import dataclass

import torch

from sats_core.classes import Catalogue
from sats_core.data.transforms import View
from sats_core.export import LoadedVersion, load_version
from sats_core.job import StepJob
from sats_core.models import Backbone, Segmenter, start_backbone
from sats_core.segformer.variants import DEPTHS
from sats_core.settings import StepSettings
from sats_core.training.schedule import filled_in


@dataclass(frozen=True)
class Start:
    """What a step starts from.

    Attributes:
        model: to train: the old one, grown by the new classes, or a new one.
        old: the version before; None in a base step.
        catalogue: classes after the step.
        settings: filled in; backbone and size are the old version's.
        backbone_start: where the backbone's first weights came from.
    """

    model: Segmenter
    old: LoadedVersion | None
    catalogue: Catalogue
    settings: StepSettings
    backbone_start: str


def begin(job: StepJob) -> Start:
    """Load the old version and grow it, or build a new model for a base step.

    Raises:
        ModelError: the old version cannot be loaded; a step never starts from scratch instead.
        ClassError: a new class is known already.
    """
    if job.old_version is None:
        catalogue = Catalogue.empty().grow(job.new_classes, job.indices)
        settings = filled_in(job.settings, base=True)
        backbone, source = start_backbone(
            settings.backbone, settings.seed, settings.pretrained, job.backbone_dir
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            view = _view(backbone, settings.size)
            model = Segmenter(backbone, catalogue.sizes(), view=view, head=job.head)
        return Start(placed(model), None, catalogue, settings, source)
    old = load_version(job.old_version)
    catalogue = old.catalogue.grow(job.new_classes, job.indices)
    kept = {"backbone": old.config["backbone"], "size": old.config["size"]}
    settings = filled_in(job.settings.model_copy(update=kept), base=False)
    model = load_version(job.old_version).model
    model.classifier.grow(len(job.new_classes))
    placed(old.model)
    return Start(placed(model), old, catalogue, settings, old.config["backbone_start"])


def _view(backbone: Backbone, size: int) -> View | None:
    """Return how a new model sees pictures: one with a SegFormer's backbone as that library can
    show them, so that its masks are the same there."""
    return View(inside=size) if backbone.name in DEPTHS else None


def placed(model: Segmenter) -> Segmenter:
    """Return the model on the device there is, its weights laid out as convolutions like them."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in stubs
    return model.to(device)
