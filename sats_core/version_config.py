"""The one place that reads a version's `config.json`; torch-free."""

import json
from collections.abc import Mapping
from typing import Any, Literal

from sats_core.segformer.variants import DEPTHS

HeadName = Literal["all_mlp", "softmax", "scaled", "focal"]
"""The heads that a model may have; the service trains the first one."""
ALL_MLP: HeadName = "all_mlp"
"""SegFormer's. A version that names none has it."""

OWN = "sats"
"""Key of what we say of a version, where its `config.json` is a Hugging Face model's."""


def read_version_config(data: bytes) -> dict[str, Any]:
    """Return what a version's `config.json` says of it: size, classes, backbone, ...

    A version that is a Hugging Face directory too (`is_segformer`) has that library's
    `config.json`, and ours lies under one key of it. Other versions' is ours as a whole.

    Raises:
        ValueError: no JSON object.
    """
    config = json.loads(data)
    own = config.get(OWN, config) if isinstance(config, dict) else None
    if not isinstance(own, dict):
        raise ValueError("config.json is no version's")  # noqa: TRY004  # of the file, not the type
    return own


def is_segformer(config: Mapping[str, Any]) -> bool:
    """Return whether a version of this config is a Hugging Face directory too.

    That library's SegFormer has `mit_*` backbones and the all-MLP head, and no other.
    """
    return config["backbone"] in DEPTHS and config.get("head", ALL_MLP) == ALL_MLP
