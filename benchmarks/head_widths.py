"""What a wider head costs those who segment: units of `frozen` widen it by some features a step.

    python -m benchmarks.head_widths

Exported graphs of random weights, which differ in the head's width alone, run one picture in turns
on one thread of ONNX Runtime; the processor's time of each run is counted. Writes
`docs/results/head_widths.json`.
"""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnxruntime
import torch
import typer

from benchmarks.machine import machine_load, stamped, write_record
from sats_core.export import write_graph
from sats_core.models import Segmenter, seeded_backbone
from sats_core.models.head import head_width

CLASSES = 16
MORE = (0, 32, 128, 256)
"""Features beside the head's own."""
CASES = {"mit_b0": 256, "mit_b2": 256}
"""Backbones, and the side of a picture."""
QUICK = {"mit_b0": 64}

Row = dict[str, Any]


def graph(folder: Path, backbone: str, width: int, size: int) -> onnxruntime.InferenceSession:
    """Return a session of an exported graph with a head of some width."""
    model = Segmenter(seeded_backbone(backbone, 0), [CLASSES], width).eval()
    path = folder / f"{backbone}-{width}.onnx"
    write_graph(model, path, [torch.randn(1, 3, size, size)])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def measured(backbone: str, size: int, repeats: int) -> list[Row]:
    """Return the median processor time of a run at each width, milliseconds."""
    width = head_width(backbone)
    picture = np.random.default_rng(0).standard_normal((1, 3, size, size)).astype(np.float32)
    taken: dict[int, list[float]] = {more: [] for more in MORE}
    with tempfile.TemporaryDirectory() as folder:
        sessions = {more: graph(Path(folder), backbone, width + more, size) for more in MORE}
        for session in sessions.values():
            session.run(["logits"], {"pixel_values": picture})
        for _ in range(repeats):
            for more, session in sessions.items():
                began = time.process_time()
                session.run(["logits"], {"pixel_values": picture})
                taken[more].append(1000 * (time.process_time() - began))
    plain = statistics.median(taken[0])
    return [
        {
            "backbone": backbone,
            "size": size,
            "width": width,
            "more": more,
            "processor_ms": round(statistics.median(times), 2),
            "over_none": round(statistics.median(times) / plain, 3),
        }
        for more, times in taken.items()
    ]


def main(
    results: Annotated[Path, typer.Option(help="Folder of the JSON.")] = Path("docs/results"),
    quick: Annotated[bool, typer.Option(help="A tiny size only, to see that it works.")] = False,
) -> None:
    """Measure, and write the figures."""
    load, cases = machine_load(), QUICK if quick else CASES
    rows = [row for name, size in cases.items() for row in measured(name, size, 3 if quick else 40)]
    command = "python -m benchmarks.head_widths" + " --quick" * quick
    record = stamped("cpu", machine_load=load, widths=rows)
    write_record(results, "head_widths.json", {"command": command, "record": record})
    for row in rows:
        typer.echo(", ".join(f"{name} {value}" for name, value in row.items()))


if __name__ == "__main__":
    typer.run(main)
