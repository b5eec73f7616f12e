"""What Prometheus reads of inference."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.inference.engine import Inference


class InferenceCollector(Collector):
    """Batches and pictures run by this process, and how full it is."""

    def __init__(self, inference: Inference) -> None:
        self.inference = inference

    def collect(self) -> Iterator[Metric]:
        """Yield the figures; pictures over batches is the mean size of a batch."""
        load = self.inference.load
        yield CounterMetricFamily("sats_segment_batches", "Runs of a graph.", value=load.runs)
        yield CounterMetricFamily("sats_segment_pictures", "Pictures run.", value=load.items)
        yield GaugeMetricFamily(
            "sats_segment_places_free", "Pictures that may still come.", value=load.free
        )
        yield GaugeMetricFamily(
            "sats_segment_bytes_free",
            "Memory that pictures may still take.",
            value=self.inference.memory.free,
        )
