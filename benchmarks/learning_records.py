"""What finished runs of the learning benchmark come to, a record each."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.intervals import Interval, mean_known, paired
from benchmarks.learning_joint import MOST_STAGES, best, converged, score, stages
from benchmarks.learning_plan import BASE, JOINT, Sequence, Variant

Record = dict[str, Any]


def record_of(run: Sequence) -> Record | None:
    """Return what a finished run comes to; None while a step of it or its base step is missing.

    Base is background and the classes of the base step, new the classes of all later steps. What
    is measured against `joint` is None while that is not finished.
    """
    if run.variant.method in (BASE, JOINT):
        return None
    base, later = taken(run.base), taken(run)
    if not base or len(later) < run.last_step:
        return None
    first, names = base[0], base[0]["iou"]
    joint = joint_of(run, names)
    steps = [_step(step, names) for step in (first, *later)]
    last = steps[-1]
    record = {
        "protocol": run.protocol,
        "setting": run.setting,
        "method": run.variant.method,
        "variant": run.variant.label,
        "memory": run.variant.memory,
        "fusion": later[-1]["settings"]["fusion"],
        "seed": run.seed,
        "preset": run.preset,
        "miou_all": last["miou_all"],
        "miou_base": last["miou_base"],
        "miou_new": last["miou_new"],
        **joint,
        "forgetting": last["forgetting"],
        "base_lost": steps[0]["miou_base"] - last["miou_base"],
        "background_before": steps[0]["background"],
        "background_after": last["background"],
        "background_lost": steps[0]["background"] - last["background"],
        "kept_share": mean_known(step["kept_share"] for step in steps),
        "entropy": mean_known(step["entropy"] for step in steps),
        "seconds": sum(step["seconds"] for step in later),
        "seconds_per_step": mean(step["seconds"] for step in later),
        "base_seconds": first["seconds"],
        "peak_mib": max(step["peak_mib"] for step in later),
        "curvature_mib": later[-1].get("curvature_mib"),
        "commit": later[-1]["commit"],
        "hardware": later[-1]["hardware"],
        "threads": later[-1]["threads"],
        "settings": later[-1]["settings"],
        "base_settings": first["settings"],
        "backbone_start": first["backbone_start"],
        "tuning": run.tuning,
        "steps": steps,
        "iou": later[-1]["iou"],
    }
    return record | ratios(record)


def ratios(record: Record) -> Record:
    """Return what figures of a record are of its `joint`'s; None while that is not finished."""
    return {
        "ratio_to_joint": _ratio(record["miou_all"], record["joint_miou_all"]),
        "ratio_to_joint_new": _ratio(record["miou_new"], record["joint_miou_new"]),
        "seconds_to_joint": _ratio(record["seconds_per_step"], record["joint_seconds"]),
    }


def taken(run: Sequence) -> list[Record]:
    """Return what the finished steps of a run left, in order."""
    found = sorted(run.folder.glob("step*/step.json"), key=lambda path: int(path.parent.name[4:]))
    return [json.loads(path.read_text()) for path in found]


def joint_of(run: Sequence, names: Mapping[str, float | None]) -> Record:
    """Return what training on everything at once comes to; its figures are None until it ends.

    It ends when it is converged or was taken for the longest schedule; the schedules that are
    there stand in the record either way.
    """
    found = stages(replace(run, variant=Variant(JOINT)).folder)
    ended = converged(found) or len(found) == MOST_STAGES
    mark = best(found) if ended else None
    iou = mark["iou"] if mark else {}
    return {
        "joint_miou_all": mean_known(iou.values()),
        "joint_miou_base": mean_known(value for name, value in iou.items() if name in names),
        "joint_miou_new": mean_known(value for name, value in iou.items() if name not in names),
        "joint_iou": iou or None,
        "joint_epochs": mark["settings"]["epochs"] if mark else None,
        "joint_stages_epochs": [stage["settings"]["epochs"] for stage in found],
        "joint_stages_miou": [score(stage) for stage in found],
        "joint_converged": converged(found),
        "joint_seconds": mark["seconds"] if mark else None,
    }


def _step(step: Record, base: Mapping[str, float | None]) -> Record:
    iou = step["iou"]
    born = step["introduced"]
    losses = [
        was - iou[name]
        for name, was in born.items()
        if name not in step["classes"] and was is not None and iou[name] is not None
    ]
    teacher = step["teacher"] or {"kept_share": None, "entropy": None}
    return {
        "step": step["step"],
        "classes": step["classes"],
        "miou_all": mean_known(iou.values()),
        "miou_base": mean_known(value for name, value in iou.items() if name in base),
        "miou_new": mean_known(value for name, value in iou.items() if name not in base),
        "background": iou["background"],
        "forgetting": mean(losses) if losses else None,
        **teacher,
        "seconds": step["seconds"],
        "peak_mib": step["peak_mib"],
        "pictures": step["trained_pictures"],
        "replayed": step["replayed_pictures"],
    }


def _ratio(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole


def read(results: Path, protocol: str) -> list[Record]:
    """Return the records of a protocol that stand in a folder of results; without one, none."""
    path = results / f"learning-{protocol}.json"
    found: list[Record] = json.loads(path.read_text()) if path.exists() else []
    return found


def by_seed(records: Iterable[Record], variant: str, key: str) -> dict[int, Any]:
    """Return one figure of one variant, by seed."""
    return {r["seed"]: r[key] for r in records if r["variant"] == variant}


def difference(
    records: Iterable[Record], first: str, second: str, key: str = "miou_all"
) -> Interval | None:
    """Return how much more of a figure one variant has than another; None where one is missing."""
    found = list(records)
    return paired(*(by_seed(found, name, key) for name in (first, second)))
