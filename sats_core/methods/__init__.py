"""How a step fights forgetting: one file per method, fine-tuning is the base class."""

from sats_core.method_settings import FinetuneSettings
from sats_core.methods.base_step import BaseStep
from sats_core.methods.curvature import Curvature
from sats_core.methods.finetune import Finetune
from sats_core.methods.frozen import Frozen
from sats_core.methods.ilt import Ilt
from sats_core.methods.joint import Joint
from sats_core.methods.kfac import Kfac
from sats_core.methods.lwf import Lwf
from sats_core.methods.method import Method, Trainer
from sats_core.methods.mib import Mib
from sats_core.methods.plop import Plop
from sats_core.methods.residual import Residual
from sats_core.methods.sats import Sats
from sats_core.methods.sats_plus import SatsPlus
from sats_core.models import Segmenter
from sats_core.settings import StepSettings

__all__ = [
    "METHODS",
    "BaseStep",
    "Finetune",
    "Frozen",
    "Ilt",
    "Joint",
    "Kfac",
    "Lwf",
    "Method",
    "Mib",
    "Plop",
    "Residual",
    "Sats",
    "SatsPlus",
    "Trainer",
    "make_method",
]

METHODS: dict[str, type[Method]] = {
    "finetune": Finetune,
    "frozen": Frozen,
    "lwf": Lwf,
    "ilt": Ilt,
    "mib": Mib,
    "plop": Plop,
    "sats": Sats,
    "sats_plus": SatsPlus,
    "kfac": Kfac,
    "residual": Residual,
    "joint": Joint,
}
"""Every method by the name that settings use."""


def make_method(
    settings: StepSettings,
    model: Segmenter,
    old: Segmenter | None,
    curvature: Curvature | None = None,
) -> Method:
    """Return the method of a step; a base step (`old` is None) has nothing to forget.

    Args:
        settings: of the step.
        model: to train, grown.
        old: before the step.
        curvature: what the version before keeps of it; None: it keeps none.
    """
    if old is None and settings.method != "joint":
        return BaseStep(model, None, FinetuneSettings())
    method = METHODS[settings.method](model, old, settings.for_method())
    method.recall(curvature)
    return method
