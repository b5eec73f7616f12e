"""From finished runs to records, a Markdown report and plots."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from benchmarks.learning_plan import BASE, JOINT, PRESETS, Sequence, Variant
from sats_core.data.protocols import PROTOCOLS

Record = dict[str, Any]


def write_report(runs: list[Sequence], results: Path) -> str:
    """Write JSON, Markdown and a plot a preset of the runs that are finished; say where."""
    records = [record for run in runs if (record := record_of(run))]
    if not records:
        return "no run is finished: nothing to report"
    results.mkdir(parents=True, exist_ok=True)
    name = f"learning-{runs[0].protocol}" + ("-tuning" if runs[0].tuning else "")
    if runs[0].setting == "disjoint":
        name += "-disjoint"
    kept = [r for r in _earlier(results / f"{name}.json") if _key(r) not in map(_key, records)]
    records = kept + records
    (results / f"{name}.json").write_text(json.dumps(records, indent=1) + "\n")
    presets = {
        preset: [r for r in records if r["preset"] == preset]
        for preset in PRESETS
        if preset in {r["preset"] for r in records}
    }
    for preset, taken in presets.items():
        _plot(taken, results / f"{name}-{preset}.svg")
    (results / f"{name}.md").write_text(_markdown(presets, name))
    return f"{results / name}.json, .md and .svg of {', '.join(presets)}"


def _earlier(path: Path) -> list[Record]:
    return json.loads(path.read_text()) if path.exists() else []


def _key(record: Record) -> tuple[Any, ...]:
    return tuple(record[k] for k in ("preset", "setting", "seed", "variant"))


def record_of(run: Sequence) -> Record | None:
    """Return what a finished run comes to, None while a part of it is missing.

    Old is background and the classes of the base step, new the classes of all later steps.
    """
    if run.variant.method in (BASE, JOINT):
        return None
    base, joint = (_steps(replace(run, variant=Variant(kind))) for kind in (BASE, JOINT))
    later = _steps(run)
    if not base or not joint or not _whole(run, later):
        return None
    steps = [_step(step, base[0]) for step in (*base, *later)]
    last, all_at_once = steps[-1], _miou(joint[0]["iou"].values())
    old = last["miou_old"]
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
        "miou_old": old,
        "miou_new": last["miou_new"],
        "joint_miou_all": all_at_once,
        "joint_miou_old": _miou(v for n, v in joint[0]["iou"].items() if n in base[0]["iou"]),
        "joint_miou_new": _miou(v for n, v in joint[0]["iou"].items() if n not in base[0]["iou"]),
        "ratio_to_joint": last["miou_all"] / all_at_once,
        "forgetting": last["forgetting"],
        "old_lost": steps[0]["miou_old"] - old,
        "seconds": sum(step["seconds"] for step in later),
        "peak_mib": max(step["peak_mib"] for step in later),
        "commit": later[-1]["commit"],
        "hardware": later[-1]["hardware"],
        "threads": later[-1]["threads"],
        "settings": later[-1]["settings"],
        "base_settings": base[0]["settings"],
        "backbone_start": base[0]["backbone_start"],
        "tuning": run.tuning,
        "steps": steps,
        "iou": later[-1]["iou"],
        "joint_iou": joint[0]["iou"],
    }
    (run.folder / "run.json").write_text(json.dumps(record, indent=1) + "\n")
    return record


def _steps(run: Sequence) -> list[Record]:
    found = sorted(run.folder.glob("step*/step.json"), key=lambda path: int(path.parent.name[4:]))
    return [json.loads(path.read_text()) for path in found]


def _whole(run: Sequence, later: list[Record]) -> bool:
    return len(later) == (run.until or len(PROTOCOLS[run.protocol].sizes) - 1)


def _step(step: Record, base: Record) -> Record:
    iou = step["iou"]
    born = step["introduced"]
    losses = [
        was - iou[name]
        for name, was in born.items()
        if name not in step["classes"] and was is not None and iou[name] is not None
    ]
    return {
        "step": step["step"],
        "classes": step["classes"],
        "miou_all": _miou(iou.values()),
        "miou_old": _miou(value for name, value in iou.items() if name in base["iou"]),
        "miou_new": _miou(value for name, value in iou.items() if name not in base["iou"]),
        "forgetting": mean(losses) if losses else None,
        "seconds": step["seconds"],
        "peak_mib": step["peak_mib"],
        "pictures": step["trained_pictures"],
        "replayed": step["replayed_pictures"],
    }


def _miou(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if known else None


def _grouped(records: list[Record]) -> dict[str, list[Record]]:
    groups: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda r: int(r["seed"])):
        groups.setdefault(record["variant"], []).append(record)
    return dict(sorted(groups.items(), key=lambda item: -mean(r["miou_all"] for r in item[1])))


def _plot(records: list[Record], path: Path) -> None:
    matplotlib.rcParams["svg.hashsalt"] = "sats"
    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    for name, group in _grouped(records).items():
        numbers = [step["step"] for step in group[0]["steps"]]
        means = [mean(r["steps"][i]["miou_all"] for r in group) for i in range(len(numbers))]
        axes.plot(numbers, means, marker="o", label=name)
    joint = mean(r["joint_miou_all"] for r in records)
    axes.axhline(joint, color="black", linestyle="--", label="joint, all classes")
    axes.set(xlabel="step", ylabel="mIoU over all classes known", title=_title(records[0]))
    axes.legend(fontsize="small")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _title(record: Record) -> str:
    return f"{record['protocol']}, preset {record['preset']}"


def _markdown(presets: dict[str, list[Record]], name: str) -> str:
    one = next(iter(presets.values()))[0]
    where = "a fold of the training pictures" if one["tuning"] else "the validation pictures"
    lines = [
        f"# Learning: {one['protocol']}, {one['setting']}",
        "",
        f"Scored on {where}. Old: background and the classes of the base step. New: the classes of "
        "all later steps. Forgetting: IoU when a class was introduced less IoU now, mean over "
        "classes. Old lost: mIoU old after the base step less mIoU old at the end. Each figure is "
        "the mean over the seeds, the spread (largest less smallest) behind it in brackets.",
        "",
    ]
    for preset, records in presets.items():
        lines += _section(preset, records, f"{name}-{preset}.svg")
    return "\n".join(lines)


def _section(preset: str, records: list[Record], plot: str) -> list[str]:
    groups = _grouped(records)
    joint = ", ".join(
        f"{part} {_figure([r[f'joint_miou_{part}'] for r in records])}"
        for part in ("all", "old", "new")
    )
    return [
        f"## Preset `{preset}`",
        "",
        f"    {_command(records)}",
        "",
        _schedule(records[0]),
        "",
        f"![mIoU over steps]({plot})",
        "",
        "| method | mIoU all | old | new | ratio to joint | forgetting | old lost | seconds a step "
        "| peak MiB | seeds | commit |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
        *(_row(name, group) for name, group in groups.items()),
        "",
        f"`joint`, trained on everything at once: {joint}.",
        "",
        "### mIoU after every step",
        "",
        *_per_step(groups),
        "",
        "### IoU per class after the last step",
        "",
        *_per_class(groups, records[0]),
        "",
    ]


def _command(records: list[Record]) -> str:
    """Return the command that makes these records."""
    one = records[0]
    methods = dict.fromkeys(record["variant"] for record in records)
    seeds = sorted({record["seed"] for record in records})
    return (
        f"python -m benchmarks.learning DATA --protocol {one['protocol']} "
        f"--preset {one['preset']} --setting {one['setting']} --methods {','.join(methods)} "
        f"--seeds {','.join(map(str, seeds))}" + (" --tuning" if one["tuning"] else "")
    )


def _schedule(record: Record) -> str:
    base, later = record["base_settings"], record["settings"]
    return (
        f"{base['backbone']}, {base['size']} px, batch {base['batch_size']}, {base['optimizer']}, "
        f"{base['epochs']} epochs of the base step and `joint`, {later['epochs']} of later steps. "
        f"Backbones start from: {record['backbone_start']}. {record['hardware']}; "
        f"{record['threads']} thread(s) a run."
    )


def _row(name: str, group: list[Record]) -> str:
    cells = [
        _figure([r[key] for r in group])
        for key in ("miou_all", "miou_old", "miou_new", "ratio_to_joint", "forgetting", "old_lost")
    ]
    steps = len(group[0]["steps"]) - 1
    seconds = mean(r["seconds"] for r in group) / steps
    peak = max(r["peak_mib"] for r in group)
    commits = ", ".join(sorted({r["commit"] for r in group}))
    cells += [f"{seconds:.0f}", f"{peak:.0f}", str(len(group)), commits]
    return f"| {name} | " + " | ".join(cells) + " |"


def _per_step(groups: dict[str, list[Record]]) -> list[str]:
    count = len(next(iter(groups.values()))[0]["steps"])
    lines = [
        "Each cell: mIoU all / old / new / forgetting.",
        "",
        "| method | " + " | ".join(f"step {i}" for i in range(count)) + " |",
        "|---" * (count + 1) + "|",
    ]
    for name, group in groups.items():
        cells = []
        for i in range(count):
            keys = ("miou_all", "miou_old", "miou_new", "forgetting")
            cells.append(" / ".join(_mean([r["steps"][i][key] for r in group]) for key in keys))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _per_class(groups: dict[str, list[Record]], one: Record) -> list[str]:
    lines = ["| class | " + " | ".join(groups) + " | joint |", "|---" * (len(groups) + 2) + "|"]
    everything = [r for group in groups.values() for r in group]
    for name in one["iou"]:
        cells = [_mean([r["iou"][name] for r in group]) for group in groups.values()]
        joint = _mean([r["joint_iou"][name] for r in everything])
        lines.append(f"| {name} | " + " | ".join([*cells, joint]) + " |")
    return lines


def _mean(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{mean(known):.3f}" if known else "-"


def _figure(values: list[float]) -> str:
    spread = max(values) - min(values)
    return f"{mean(values):.3f} ({spread:.3f})"
