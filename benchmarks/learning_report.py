"""From finished runs to JSON, a Markdown report and plots."""

import json
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from statistics import mean

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from benchmarks.intervals import mean_known
from benchmarks.learning_plan import FROZEN_BASE, PRESETS, Sequence
from benchmarks.learning_records import Record, difference, read, record_of

DEFAULT = "sats_plus"
"""The method that the service takes unless a task says otherwise."""
PAIRS = (
    ("sats", "mib"),
    ("sats", "plop"),
    ("plop", "ilt"),
    ("plop", "lwf"),
    ("ilt", "finetune"),
    ("lwf", "finetune"),
)
"""Whose difference the papers speak of, beside every method's to the default and frozen base."""
TWO_SEEDS = (
    "Two seeds leave one degree of freedom and an interval that is 12.7 times as wide as the two "
    "are apart."
)

Groups = dict[str, list[Record]]


def write_report(runs: list[Sequence], results: Path) -> str:
    """Write JSON, Markdown and a plot a preset of the runs that are finished; say where."""
    records = [record for run in runs if (record := record_of(run))]
    if not records:
        return "no run is finished: nothing to report"
    results.mkdir(parents=True, exist_ok=True)
    protocol = runs[0].protocol + ("-tuning" if runs[0].tuning else "")
    if runs[0].setting == "disjoint":
        protocol += "-disjoint"
    name = f"learning-{protocol}"
    known = {_key(record) for record in records}
    records = [r for r in read(results, protocol) if _key(r) not in known] + records
    (results / f"{name}.json").write_text(json.dumps(records, indent=1) + "\n")
    found = {record["preset"] for record in records}
    presets = {
        preset: [r for r in records if r["preset"] == preset]
        for preset in PRESETS
        if preset in found
    }
    for preset, taken in presets.items():
        _plot(taken, results / f"{name}-{preset}.svg")
    (results / f"{name}.md").write_text(_markdown(presets, name))
    return f"{results / name}.json, .md and .svg of {', '.join(presets)}"


def _key(record: Record) -> tuple[str, str, int, str]:
    return record["preset"], record["setting"], record["seed"], record["variant"]


def _grouped(records: list[Record]) -> Groups:
    groups: Groups = {}
    for record in sorted(records, key=lambda r: int(r["seed"])):
        groups.setdefault(record["variant"], []).append(record)
    return dict(sorted(groups.items(), key=lambda item: -mean(r["miou_all"] for r in item[1])))


def _shown(variant: str) -> str:
    return "frozen base" if variant == FROZEN_BASE else f"`{variant}`"


def _plot(records: list[Record], path: Path) -> None:
    matplotlib.rcParams["svg.hashsalt"] = "sats"
    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    for name, group in _grouped(records).items():
        numbers = [step["step"] for step in group[0]["steps"]]
        means = [mean(r["steps"][i]["miou_all"] for r in group) for i in range(len(numbers))]
        style = "--" if name == FROZEN_BASE else "-"
        axes.plot(numbers, means, style, marker="o", label=_shown(name).strip("`"))
    joint = mean(r["joint_miou_all"] for r in records)
    axes.axhline(joint, color="black", linestyle=":", label="joint, all classes")
    title = f"{records[0]['protocol']}, preset {records[0]['preset']}"
    axes.set(xlabel="step", ylabel="mIoU over all classes known", title=title)
    axes.legend(fontsize="small")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _markdown(presets: dict[str, list[Record]], name: str) -> str:
    one = next(iter(presets.values()))[0]
    where = "a fold of the training pictures" if one["tuning"] else "the validation pictures"
    lines = [
        f"# Learning: {one['protocol']}, {one['setting']}",
        "",
        f"Scored on {where}; figures are means over the seeds. Base: background and the classes of "
        "the base step. New: the classes of all later steps. Forgetting: IoU when a class was "
        "introduced less IoU now, mean over classes. Lost: after the base step less at the end. "
        "Kept share: of the background pixels of a step's pictures, those whose pseudo-label from "
        "the model before it is kept at the method's thresholds; entropy: that model's on them, "
        "over log C; both means over the steps. Frozen base: the base version as it is, the new "
        "classes never predicted. `joint`, trained on everything at once, is a mark to measure "
        "by, which can be exceeded: a sequence of steps sees some pictures more often.",
        "",
    ]
    for preset, records in presets.items():
        lines += _section(preset, records, f"{name}-{preset}.svg")
    return "\n".join(lines)


def _section(preset: str, records: list[Record], plot: str) -> list[str]:
    groups = _grouped(records)
    return [
        f"## Preset `{preset}`",
        "",
        f"    {_command(records)}",
        "",
        _schedule(records),
        "",
        f"![mIoU over steps]({plot})",
        "",
        *_scores(groups),
        "",
        _joint(records),
        "",
        "### Differences",
        "",
        "mIoU over all classes, first less second, paired over the seeds: mean and 95 % confidence "
        f"interval (Student's t). {TWO_SEEDS}",
        "",
        *_differences(groups),
        "",
        "### After every step",
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
    chosen = ",".join(name for name in methods if name != FROZEN_BASE)
    return (
        f"python -m benchmarks.learning DATA --protocol {one['protocol']} "
        f"--preset {one['preset']} --setting {one['setting']} --methods {chosen} "
        f"--seeds {','.join(map(str, seeds))}"
        + (" --backbone-dir BACKBONES" if one["base_settings"]["pretrained"] else "")
        + (" --tuning" if one["tuning"] else "")
    )


def _schedule(records: list[Record]) -> str:
    trained = [r for r in records if r["variant"] != FROZEN_BASE] or records
    base, later = trained[0]["base_settings"], trained[0]["settings"]
    machines = ", ".join(dict.fromkeys(r["hardware"] for r in trained))
    return (
        f"{base['backbone']}, {base['size']} px, batch {base['batch_size']}, {base['optimizer']} "
        f"({base['learning_rate']:g}), {base['epochs']} epochs of the base step, "
        f"{later['epochs']} of later ones ({later.get('learning_rate', 0):g}). Backbones start "
        f"from: {records[0]['backbone_start']}. {machines}; {trained[0]['threads']} thread(s) a "
        "run."
    )


COLUMNS = (
    ("mIoU all", "miou_all"),
    ("base", "miou_base"),
    ("new", "miou_new"),
    ("/ joint", "ratio_to_joint"),
    ("new / joint's", "ratio_to_joint_new"),
    ("forgetting", "forgetting"),
    ("base lost", "base_lost"),
    ("background before", "background_before"),
    ("after", "background_after"),
    ("kept share", "kept_share"),
    ("entropy", "entropy"),
    ("a step's seconds / joint's", "seconds_to_joint"),
)


def _scores(groups: Groups) -> list[str]:
    headings = [heading for heading, _ in COLUMNS]
    headings = ["method", *headings, "seconds a step", "peak MiB", "seeds", "commit"]
    lines = ["| " + " | ".join(headings) + " |", "|---" * len(headings) + "|"]
    for name, group in groups.items():
        cells = [_shown_mean([r[key] for r in group]) for _, key in COLUMNS]
        seconds = mean(r["seconds_per_step"] for r in group)
        peak = max(r["peak_mib"] for r in group)
        commits = ", ".join(sorted({r["commit"] for r in group}))
        cells += [f"{seconds:.0f}", f"{peak:.0f}", str(len(group)), commits]
        lines.append(f"| {_shown(name)} | " + " | ".join(cells) + " |")
    return lines


def _joint(records: list[Record]) -> str:
    seeds = {r["seed"]: r for r in records}.values()
    parts = ", ".join(
        f"{part} {_shown_mean([r[f'joint_miou_{part}'] for r in seeds])}"
        for part in ("all", "base", "new")
    )
    stages = "; ".join(
        f"seed {r['seed']}: "
        + ", ".join(
            f"{epochs} epochs {value:.3f}"
            for epochs, value in zip(r["joint_stages_epochs"], r["joint_stages_miou"], strict=True)
        )
        + ("" if r["joint_converged"] else ", **still gaining**")
        for r in seeds
    )
    seconds = mean(r["joint_seconds"] for r in seeds)
    return (
        f"`joint`: {parts}; {seconds:.0f} s. The best of longer and longer schedules, each from "
        "the start and half as long again, until one gained less than 0.01 mIoU; length and best "
        f"are decided on the pictures scored here ({stages})."
    )


def _differences(groups: Groups) -> list[str]:
    lines = ["| first | second | mIoU all | new classes' mIoU |", "|---|---|---|---|"]
    pairs = [(n, DEFAULT) for n in groups if n not in (DEFAULT, FROZEN_BASE)]
    pairs += [(n, FROZEN_BASE) for n in groups if n != FROZEN_BASE]
    records = list(chain.from_iterable(groups.values()))
    for first, second in dict.fromkeys((*PAIRS, *pairs)):
        found = [difference(records, first, second, key) for key in ("miou_all", "miou_new")]
        if found[0] is not None:
            cells = " | ".join("-" if each is None else str(each) for each in found)
            lines.append(f"| {_shown(first)} | {_shown(second)} | {cells} |")
    return lines


def _per_step(groups: Groups) -> list[str]:
    count = len(next(iter(groups.values()))[0]["steps"])
    lines = [
        "Each cell: mIoU all / base / new; background; kept share and entropy of the model before.",
        "",
        "| method | " + " | ".join(f"step {i}" for i in range(count)) + " |",
        "|---" * (count + 1) + "|",
    ]
    for name, group in groups.items():
        cells = []
        for i in range(count):
            figures = {
                key: _shown_mean([r["steps"][i][key] for r in group])
                for key in (
                    *("miou_all", "miou_base", "miou_new"),
                    *("background", "kept_share", "entropy"),
                )
            }
            cells.append(
                "{miou_all} / {miou_base} / {miou_new}; {background}; {kept_share}, "
                "{entropy}".format(**figures)
            )
        lines.append(f"| {_shown(name)} | " + " | ".join(cells) + " |")
    return lines


def _per_class(groups: Groups, one: Record) -> list[str]:
    names = [_shown(name) for name in groups]
    lines = ["| class | " + " | ".join(names) + " | joint |", "|---" * (len(groups) + 2) + "|"]
    everything = [r for group in groups.values() for r in group]
    for name in one["iou"]:
        cells = [_shown_mean([r["iou"][name] for r in group]) for group in groups.values()]
        joint = _shown_mean([r["joint_iou"][name] for r in everything])
        lines.append(f"| {name} | " + " | ".join([*cells, joint]) + " |")
    return lines


def _shown_mean(values: Iterable[float | None]) -> str:
    middle = mean_known(values)
    return "-" if middle is None else f"{middle:.3f}"
