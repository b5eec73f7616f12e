"""What Prometheus reads of inference, in the words of Triton's `nv_inference_*`."""

from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from app.inference.engine import Inference
from app.inference.measures import BUCKETS, STAGES, Figures, Seconds

VERSION = ("model", "version")

Count = Callable[[Figures], int]

COUNTERS: dict[str, tuple[str, Count]] = {
    "request_success": (
        "Pictures that were answered: each is a request, however many came together.",
        lambda of: of.answered,
    ),
    "count": (
        "Pictures that a graph ran over; divided by exec_count, the mean size of a batch.",
        lambda of: of.run_pictures,
    ),
    "exec_count": ("Runs of a graph, each over a batch.", lambda of: of.runs),
}
SECONDS = {
    "queue": "Time that what was answered waited for its run.",
    "input": "Time that it took to decode, resize and normalise it.",
    "infer": "Time that its graph ran, on the whole batch.",
    "output": "Time that it took to cut, describe and render its masks.",
}
PLAN = {
    "lone_threads": "Processor threads of the run of a picture that comes alone.",
    "batch": "Most pictures in one run.",
}
"""Of how a graph is run: what was measured as fastest when it was loaded, or is set."""
BOUNDS = [*map(str, BUCKETS), "+Inf"]


class InferenceCollector(Collector):
    """What this process has answered by version, and how full it is.

    Args:
        inference: whose figures.
        places: pictures that may be in the house at a time.
    """

    def __init__(self, inference: Inference, places: int) -> None:
        self.inference = inference
        self.places = places

    def collect(self) -> Iterator[Metric]:
        """Yield the figures."""
        measures = self.inference.measures
        measures.keep(self.inference.graphs.loaded())
        read = measures.read()
        found = {(model, str(version)): figures for (model, version), figures in read.items()}
        yield from _counters(found)
        yield from _histograms(found)
        yield from self._plans()
        yield from self._room()

    def _plans(self) -> Iterator[Metric]:
        lanes = "Pictures that this process segments side by side."
        yield GaugeMetricFamily("sats_inference_lanes", lanes, value=len(self.inference.lanes))
        plans = self.inference.graphs.plans()
        for name, told in PLAN.items():
            family = GaugeMetricFamily(f"sats_inference_plan_{name}", told, labels=VERSION)
            for (model, version), plan in sorted(plans.items()):
                family.add_metric([model, str(version)], getattr(plan, name))
            yield family

    def _room(self) -> Iterator[Metric]:
        places, memory = self.inference.load.free, self.inference.memory
        for name, told, free, total in (
            ("pictures", "Pictures", places, self.places),
            ("bytes", "Bytes of memory", memory.free, memory.total),
        ):
            pending = f"{told} that unanswered requests hold."
            yield GaugeMetricFamily(f"sats_inference_pending_{name}", pending, value=total - free)
            left = f"{told} that may still come."
            yield GaugeMetricFamily(f"sats_inference_free_{name}", left, value=free)


def _counters(found: Mapping[tuple[str, str], Figures]) -> Iterator[Metric]:
    for name, (told, count) in COUNTERS.items():
        family = CounterMetricFamily(f"sats_inference_{name}", told, labels=VERSION)
        for version, figures in found.items():
            family.add_metric(version, count(figures))
        yield family
    failed = CounterMetricFamily(
        "sats_inference_request_failure",
        "Pictures that were not answered, by reason.",
        labels=[*VERSION, "reason"],
    )
    for version, figures in found.items():
        for reason, value in figures.failed.items():
            failed.add_metric([*version, reason], value)
    yield failed


def _histograms(found: Mapping[tuple[str, str], Figures]) -> Iterator[Metric]:
    for index, stage in enumerate(STAGES):
        name = f"sats_inference_{stage}_seconds"
        family = HistogramMetricFamily(name, SECONDS[stage], labels=VERSION)
        for version, figures in found.items():
            seconds = figures.stages[index]
            family.add_metric(version, _cumulated(seconds), seconds.total)
        yield family


def _cumulated(seconds: Seconds) -> list[tuple[str, float]]:
    return list(zip(BOUNDS, accumulate(seconds.counts), strict=True))
