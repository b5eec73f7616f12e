"""The one place that reads a version's `config.json`; torch-free."""

import json
from typing import Any

OWN = "sats"
"""Key of what we say of a version, where its `config.json` is a Hugging Face model's."""


def read_version_config(data: bytes) -> dict[str, Any]:
    """Return what a version's `config.json` says of it: size, classes, backbone, ...

    A version with a `mit_*` backbone is a Hugging Face directory: its `config.json` is that
    library's, and ours lies under one key of it. Other versions' is ours as a whole.

    Raises:
        ValueError: no JSON object.
    """
    config = json.loads(data)
    own = config.get(OWN, config) if isinstance(config, dict) else None
    if not isinstance(own, dict):
        raise ValueError("config.json is no version's")  # noqa: TRY004  # of the file, not the type
    return own
