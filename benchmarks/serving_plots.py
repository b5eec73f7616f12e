"""Plots of a record of serving: throughput and times by clients, a line a contestant."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks.serving_contestants import BENTOML, KEYED, LIMIT, LITSERVE, OURS, PLAIN, TORCH
from benchmarks.serving_report import plot_name
from benchmarks.serving_rounds import counted, median_of, names_of

STYLES = {
    LIMIT: ("#000000", "s"),
    OURS: ("#0072b2", "o"),
    KEYED: ("#56b4e9", "o"),
    LITSERVE: ("#d55e00", "^"),
    BENTOML: ("#cc79a7", "v"),
    PLAIN: ("#009e73", "D"),
    TORCH: ("#e69f00", "P"),
}
"""Colours that people with any kind of colour blindness tell apart (Okabe and Ito), and a marker
each for those who see none."""
OTHER = ("#999999", "X")
PANELS = {
    "answers a second": ("per_second", "linear"),
    "p50, ms": ("p50_ms", "log"),
    "p99, ms": ("p99_ms", "log"),
}
Record = dict[str, Any]


def write_plots(written: Record, folder: Path) -> None:
    """Write the plot of every set of a record."""
    for name, measured in written["sets"].items():
        _plot(name, counted(measured["turns"]), folder / plot_name(name))


def _plot(title: str, turns: Sequence[Record], path: Path) -> None:
    matplotlib.rcParams["svg.hashsalt"] = "sats"
    matplotlib.rcParams["svg.fonttype"] = "none"  # text as text: small, and found by a search
    figure, axes = plt.subplots(1, len(PANELS), figsize=(10, 3.4), layout="constrained")
    for panel, (label, (value, scale)) in zip(axes, PANELS.items(), strict=True):
        _panel(panel, turns, value)
        panel.set_yscale(scale)
        panel.yaxis.set_major_formatter("{x:g}")
        panel.set(xlabel="clients", title=label)
    axes[0].set_ylim(bottom=0)
    figure.suptitle(title)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _panel(panel: Axes, turns: Sequence[Record], value: str) -> None:
    clients = sorted({turn["clients"] for turn in turns})
    for name in names_of(turns):
        found = [(n, median_of(turns, name, n, value)) for n in clients]
        known = [(number, median) for number, median in found if median is not None]
        colour, marker = STYLES.get(name, OTHER)
        line = "--" if name == LIMIT else "-"
        panel.plot(*zip(*known, strict=True), line, color=colour, marker=marker, ms=4, label=name)
    panel.set_xscale("log", base=2)
    panel.set_xticks(clients, [str(number) for number in clients])
    panel.grid(alpha=0.3)
