"""Make torchvision (and timm, which imports it) load beside a CPU build of torch.

The package index's torchvision is compiled against CUDA torch; beside a CPU torch its compiled
operators do not load, and importing it fails because it registers a shape rule for `nms`. Nothing
here uses detection operators, so their schemas are enough.
"""

import importlib
import sys

import torch

_NMS = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

_libraries: list[torch.library.Library] = []  # a library's operators live as long as it does


def import_torchvision() -> None:
    """Import torchvision, giving it the schemas of its missing operators where it needs them.

    Raises:
        RuntimeError: torchvision fails for another reason.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
        for name in [m for m in sys.modules if m.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        library.define("nms" + _NMS)
        library.define("qnms" + _NMS)
        _libraries.append(library)
        importlib.import_module("torchvision")


import_torchvision()

import timm  # noqa: E402  # only loads once torchvision does

__all__ = ["timm"]
