"""What MLflow is told of a version: parameters, metrics, tags."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.db import Version
from sats_core.evaluation.scores import Scores

MODEL_TAG = "sats.model"
MADE_TAG = "sats.model_created_at"
TASK_TAG = "sats.task"
"""By this one a version is found again: a number may come twice, after a backup was restored."""
VERSION_TAG = "sats.version"
PARENT_TAG = "sats.parent"
CHECKSUM_TAG = "sats.checksum"
DELETED_TAG = "sats.deleted_at"
MIRRORED_TAG = "sats.mirrored"
GRAPH = "model.onnx"

_LONGEST_VALUE = 6000
_ODD = re.compile(r"[^\w .:-]")


@dataclass(frozen=True)
class Description:
    """A version, as MLflow keeps it.

    Attributes:
        name: `default@3`.
        params: the step's settings.
        metrics: those that were measured.
        tags: of its run and of its registered version.
        text: in words.
        at: when it was made, milliseconds since 1970.
    """

    name: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    text: str
    at: int


def describe(version: Version, parent: int | None) -> Description:
    """Return what MLflow is told.

    Args:
        version: a row, its model loaded.
        parent: number of the version that its step started from.
    """
    name = version.model.name
    tags = {
        MODEL_TAG: name,
        VERSION_TAG: str(version.number),
        TASK_TAG: version.task_id,
        CHECKSUM_TAG: str(version.files[GRAPH]["blob"]),
    }
    if parent is not None:
        tags[PARENT_TAG] = str(parent)
    what = f"which brought: {', '.join(version.new_classes)}"
    if version.retirement:
        what = f"from which was taken away: {', '.join(version.retirement['retired'])}"
    return Description(
        name=f"{name}@{version.number}",
        params=dict(_flat("", {**version.settings, "backbone_start": version.backbone_start})),
        metrics=_metrics(version),
        tags=tags,
        text=f"Version {version.number} of model {name}, {what}"[:5000],
        at=round(version.created_at.timestamp() * 1000),
    )


def _flat(before: str, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{before}{key}.", value)
        else:
            yield f"{before}{_ODD.sub('_', key)}", str(value)[:_LONGEST_VALUE]


def _metrics(version: Version) -> dict[str, float]:
    scores = Scores.model_validate(version.scores)
    whole = {
        "miou_old": scores.miou_old,
        "miou_new": scores.miou_new,
        "miou_all": scores.miou_all,
        "mean_forgetting": scores.mean_forgetting,
        "pixel_accuracy": scores.pixel_accuracy,
    }
    keys = _keys([str(one["name"]) for one in version.classes])
    each = {f"iou/{keys[name]}": value for name, value in scores.iou.items()}
    lost = {f"forgetting/{keys[name]}": value for name, value in scores.forgetting.items()}
    return {key: value for key, value in (whole | each | lost).items() if value is not None}


def _keys(names: list[str]) -> dict[str, str]:
    """Return each class's name as MLflow can write it; no two are the same."""
    plain = {name: _ODD.sub("_", name) for name in names}
    # A name of dots alone would be a step in a path.
    plain = {name: key if key.strip(".") else f"class {key}_" for name, key in plain.items()}
    taken: set[str] = set()
    for name in names:
        while plain[name].casefold() in taken:
            plain[name] += "_"
        taken.add(plain[name].casefold())
    return plain
