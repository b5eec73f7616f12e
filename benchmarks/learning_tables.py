"""The tables of the learning benchmark's report, as lines of Markdown."""

from collections.abc import Iterable
from itertools import chain
from statistics import mean

from benchmarks.intervals import mean_known
from benchmarks.learning_plan import DEFAULT, FROZEN_BASE
from benchmarks.learning_records import Record, difference

PAIRS = (
    ("sats", "mib"),
    ("sats", "plop"),
    ("plop", "ilt"),
    ("plop", "lwf"),
    ("ilt", "finetune"),
    ("lwf", "finetune"),
    ("kfac", "mib"),
    ("kfac", "mib@distillation_weight=0"),
    ("residual", "mib@fusion=1"),
    ("residual", "mib@fusion=1@distillation_weight=0"),
)
"""Whose difference the papers speak of, beside every method's to the default and frozen base."""
NOT_MEASURED = "not measured"

Groups = dict[str, list[Record]]


def grouped(records: list[Record]) -> Groups:
    """Return the records of each variant by seed, the best variant first."""
    groups: Groups = {}
    for record in sorted(records, key=lambda r: int(r["seed"])):
        groups.setdefault(record["variant"], []).append(record)
    return dict(sorted(groups.items(), key=lambda item: -mean(r["miou_all"] for r in item[1])))


def shown(variant: str) -> str:
    """Return how a page names a variant."""
    return "frozen base" if variant == FROZEN_BASE else f"`{variant}`"


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


def scores(groups: Groups) -> list[str]:
    """Return what each variant comes to after the last step."""
    headings = [heading for heading, _ in COLUMNS]
    headings = ["method", *headings, "seconds a step", "peak MiB", "seeds", "commit"]
    lines = ["| " + " | ".join(headings) + " |", "|---" * len(headings) + "|"]
    for name, group in groups.items():
        cells = [
            _shown_mean([r[key] for r in group], NOT_MEASURED if "joint" in key else "-")
            for _, key in COLUMNS
        ]
        seconds = mean(r["seconds_per_step"] for r in group)
        peak = max(r["peak_mib"] for r in group)
        seeds = ", ".join(str(r["seed"]) for r in group)
        commits = ", ".join(sorted({r["commit"] for r in group}))
        cells += [f"{seconds:.0f}", f"{peak:.0f}", seeds, commits]
        lines.append(f"| {shown(name)} | " + " | ".join(cells) + " |")
    return lines


def kept(groups: Groups) -> list[str]:
    """Return how much curvature the last version keeps, where any does."""
    sizes = {name: mean_known(r.get("curvature_mib") for r in of) for name, of in groups.items()}
    told = [f"{shown(name)} {size:.0f} MiB" for name, size in sizes.items() if size is not None]
    return [f"Curvature kept with a version: {', '.join(told)}.", ""] if told else []


def joint(records: list[Record]) -> str:
    """Return what `joint` came to, every schedule of it, or that it is not measured."""
    seeds = {r["seed"]: r for r in records}.values()
    schedules = "; ".join(map(_stages, seeds))
    seconds = mean_known(r["joint_seconds"] for r in seeds)
    if seconds is None:
        return f"`joint`: {NOT_MEASURED} ({schedules})."
    parts = ", ".join(
        f"{part} {_shown_mean([r[f'joint_miou_{part}'] for r in seeds])}"
        for part in ("all", "base", "new")
    )
    return (
        f"`joint`: {parts}; {seconds:.0f} s. The best of longer and longer schedules, each from "
        "the start and half as long again, until one gained less than 0.01 mIoU; length and best "
        f"are decided on the pictures scored here ({schedules})."
    )


def _stages(record: Record) -> str:
    """Return what every schedule of a seed's `joint` came to, and whether that is the end."""
    came_to = zip(record["joint_stages_epochs"], record["joint_stages_miou"], strict=True)
    said = [f"{epochs} epochs {value:.3f}" for epochs, value in came_to] or ["none taken"]
    if record["joint_miou_all"] is None:
        said.append("**not finished**")
    elif not record["joint_converged"]:
        said.append("**still gaining**")
    return f"seed {record['seed']}: {', '.join(said)}"


def differences(groups: Groups) -> list[str]:
    """Return the paired differences of the variants that share a seed."""
    lines = ["| first | second | mIoU all | new classes' mIoU |", "|---|---|---|---|"]
    pairs = [(n, DEFAULT) for n in groups if n not in (DEFAULT, FROZEN_BASE)]
    pairs += [(n, FROZEN_BASE) for n in groups if n != FROZEN_BASE]
    records = list(chain.from_iterable(groups.values()))
    for first, second in dict.fromkeys((*PAIRS, *pairs)):
        found = [difference(records, first, second, key) for key in ("miou_all", "miou_new")]
        if found[0] is not None:
            cells = " | ".join("-" if each is None else str(each) for each in found)
            lines.append(f"| {shown(first)} | {shown(second)} | {cells} |")
    return lines


def per_step(groups: Groups) -> list[str]:
    """Return what each variant came to after every step."""
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
        lines.append(f"| {shown(name)} | " + " | ".join(cells) + " |")
    return lines


def per_class(groups: Groups, one: Record) -> list[str]:
    """Return the IoU of the classes of one record, for each variant and `joint`."""
    names = [shown(name) for name in groups]
    lines = ["| class | " + " | ".join(names) + " | joint |", "|---" * (len(groups) + 2) + "|"]
    everything = [r for group in groups.values() for r in group]
    for name in one["iou"]:
        cells = [_shown_mean([r["iou"][name] for r in group]) for group in groups.values()]
        marks = [r["joint_iou"] for r in everything if r["joint_iou"]]
        joint = _shown_mean([mark[name] for mark in marks], NOT_MEASURED)
        lines.append(f"| {name} | " + " | ".join([*cells, joint]) + " |")
    return lines


def _shown_mean(values: Iterable[float | None], without: str = "-") -> str:
    middle = mean_known(values)
    return without if middle is None else f"{middle:.3f}"
