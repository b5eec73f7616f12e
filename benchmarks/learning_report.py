"""From finished runs to JSON, a Markdown report and plots."""

import json
from pathlib import Path
from statistics import mean

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from benchmarks.intervals import mean_known
from benchmarks.learning_plan import BASE, FROZEN_BASE, JOINT, PRESETS, Sequence
from benchmarks.learning_records import Record, ratios, read, record_of
from benchmarks.learning_tables import (
    differences,
    grouped,
    joint,
    kept,
    per_class,
    per_step,
    scores,
    shown,
)

TWO_SEEDS = (
    "Two seeds leave one degree of freedom and an interval that is 12.7 times as wide as the two "
    "are apart."
)

Asked = list[tuple[str, int]]
"""Variants and seeds."""


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
    others = [r for r in read(results, protocol) if _key(r) not in known]
    every = others + records
    records = [_with_joint(record, every) for record in every]
    (results / f"{name}.json").write_text(json.dumps(records, indent=1) + "\n")
    found = {record["preset"] for record in records}
    presets = {
        preset: [r for r in records if r["preset"] == preset]
        for preset in PRESETS
        if preset in found
    }
    for preset, taken in presets.items():
        _plot(taken, results / f"{name}-{preset}.svg")
    asked = [
        (run.variant.label, run.seed) for run in runs if run.variant.method not in (BASE, JOINT)
    ]
    (results / f"{name}.md").write_text(_markdown(presets, name, runs[0].preset, asked))
    return f"{results / name}.json, .md and .svg of {', '.join(presets)}"


def _with_joint(record: Record, every: list[Record]) -> Record:
    """Return a record with its seed's `joint` as far as that was taken, here or elsewhere."""
    same = [r for r in every if all(r[name] == record[name] for name in ("preset", "seed"))]
    furthest = max((record, *same), key=lambda r: len(r["joint_stages_epochs"]))
    joined = record | {k: v for k, v in furthest.items() if k.startswith("joint_")}
    return joined | ratios(joined)


def _key(record: Record) -> tuple[str, str, int, str]:
    return record["preset"], record["setting"], record["seed"], record["variant"]


def _plot(records: list[Record], path: Path) -> None:
    matplotlib.rcParams["svg.hashsalt"] = "sats"
    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    for name, group in grouped(records).items():
        numbers = [step["step"] for step in group[0]["steps"]]
        means = [mean(r["steps"][i]["miou_all"] for r in group) for i in range(len(numbers))]
        style = "--" if name == FROZEN_BASE else "-"
        axes.plot(numbers, means, style, marker="o", label=shown(name).strip("`"))
    joint = mean_known(r["joint_miou_all"] for r in records)
    if joint is not None:
        axes.axhline(joint, color="black", linestyle=":", label="joint, all classes")
    title = f"{records[0]['protocol']}, preset {records[0]['preset']}"
    axes.set(xlabel="step", ylabel="mIoU over all classes known", title=title)
    axes.legend(fontsize="small")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _markdown(presets: dict[str, list[Record]], name: str, asked_of: str, asked: Asked) -> str:
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
        "by, which can be exceeded: a sequence of steps sees some pictures more often. What is not "
        "measured is said to be not; means of different seeds are not comparable, the paired "
        "differences are.",
        "",
    ]
    for preset, records in presets.items():
        wanted = asked if preset == asked_of else []
        lines += _section(preset, records, wanted, f"{name}-{preset}.svg")
    return "\n".join(lines)


def _section(preset: str, records: list[Record], asked: Asked, plot: str) -> list[str]:
    groups = grouped(records)
    measured = [(r["variant"], r["seed"]) for r in records]
    wanted = dict.fromkeys([*measured, *asked])
    return [
        f"## Preset `{preset}`",
        "",
        f"    {_command(records[0], list(wanted))}",
        "",
        *_missing([each for each in wanted if each not in measured]),
        _schedule(records),
        "",
        f"![mIoU over steps]({plot})",
        "",
        *scores(groups),
        "",
        *kept(groups),
        joint(records),
        "",
        "### Differences",
        "",
        "mIoU over all classes, first less second, paired over the seeds: mean and 95 % confidence "
        f"interval (Student's t). {TWO_SEEDS}",
        "",
        *differences(groups),
        "",
        "### After every step",
        "",
        *per_step(groups),
        "",
        "### IoU per class after the last step",
        "",
        *per_class(groups, records[0]),
        "",
    ]


def _command(one: Record, wanted: Asked) -> str:
    """Return the command that makes these records, and those that are missing."""
    chosen = ",".join(dict.fromkeys(name for name, _ in wanted if name != FROZEN_BASE))
    return (
        f"python -m benchmarks.learning DATA --protocol {one['protocol']} "
        f"--preset {one['preset']} --setting {one['setting']} --methods {chosen} "
        f"--seeds {','.join(map(str, sorted({seed for _, seed in wanted})))}"
        + (" --backbone-dir BACKBONES" if one["base_settings"]["pretrained"] else "")
        + (" --tuning" if one["tuning"] else "")
    )


def _missing(wanted: Asked) -> list[str]:
    """Return a line that names what was asked for and is not finished; nothing if all is."""
    if not wanted:
        return []
    seeds = {seed: [shown(name) for name, of in wanted if of == seed] for _, seed in wanted}
    named = "; ".join(f"seed {seed}: {', '.join(names)}" for seed, names in sorted(seeds.items()))
    return [
        f"Not measured: {named}. The command takes them; with `--report-only` it reports what is "
        "there, as here.",
        "",
    ]


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
