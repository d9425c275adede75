"""What does a node count, and how is it read?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class _Gauges(Collector):
    def __init__(self, read: Callable[[], dict[str, float]]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        for name, value in self._read().items():
            yield GaugeMetricFamily(f"ulak_{name}", name.replace("_", " "), value=value)


class _Labelled(Collector):
    def __init__(self, name: str, doc: str, label: str, read: Callable[[], Mapping[str, float]]) -> None:
        self._what = (f"ulak_{name}", doc)
        self._label = label
        self._read = read

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(*self._what, labels=(self._label,))
        for value, number in self._read().items():
            family.add_metric((value,), number)
        yield family


class Metrics:
    """A node's counters; child objects are kept, because looking them up costs more than counting."""

    def __init__(self, gauges: Callable[[], dict[str, float]]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Gauges(gauges))
        self._calls = Counter(
            "ulak_outcomes", "Calls of providers by what they meant.", ("bulkhead", "outcome"), registry=self._registry
        )
        self._seconds = Histogram(
            "ulak_call_seconds", "How long a provider took.", ("bulkhead",), buckets=_SECONDS, registry=self._registry
        )
        self._outcome_of: dict[tuple[str, str], Counter] = {}
        self._seconds_of: dict[str, Histogram] = {}

    def labelled(self, name: str, doc: str, label: str, read: Callable[[], Mapping[str, float]]) -> None:
        """Tell a gauge with one label: ``read`` gives the label's values and their numbers."""
        self._registry.register(_Labelled(name, doc, label, read))

    def called(self, bulkhead: str, kinds: dict[str, int], seconds: float) -> None:
        """Count one call: how often it meant what, and how long it took."""
        for kind, times in kinds.items():
            key = (bulkhead, kind)
            child = self._outcome_of.get(key)
            if child is None:
                child = self._outcome_of[key] = self._calls.labels(*key)
            child.inc(times)
        timer = self._seconds_of.get(bulkhead)
        if timer is None:
            timer = self._seconds_of[bulkhead] = self._seconds.labels(bulkhead)
        timer.observe(seconds)

    def text(self) -> bytes:
        """The exposition format of Prometheus."""
        return generate_latest(self._registry)
