"""The metrics of one predictor process, under one registry-wide set of names.

No label value comes from a client: routes are templates, methods and codes are closed sets, and what we
do not know is counted under ``other``. ``api_*`` keep the names the original services published.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from predictors.runtime.histograms import Buckets, Histogram

SECONDS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
)  # fmt: skip
"""Bounds of the time histograms, for a model that does not set its own."""
ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
RATES = (1, 2, 5, 10, 20, 50, 100, 150, 200, 300, 500, 1000)
SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "RPC"})


class Metrics:
    """``seconds``: bounds of the time histograms."""

    def __init__(self, registry: CollectorRegistry = REGISTRY, seconds: Sequence[float] = SECONDS) -> None:
        self.registry = registry
        self.requests = Requests(seconds, registry)
        self.in_flight = Gauge(
            "quintet_requests_in_flight", "Requests being worked on.", ("transport",), registry=registry
        )
        self.queue_items = Gauge("quintet_queue_items", "Items waiting for the engine.", registry=registry)
        self.queue_tokens = Gauge("quintet_queue_tokens", "Tokens waiting for the engine.", registry=registry)
        self.rejections = Counter(
            "quintet_rejections", "Requests refused or given up, by reason.", ("reason",), registry=registry
        )

        def stage(name: str, text: str) -> Histogram:
            return Histogram(f"quintet_{name}_seconds", text, seconds, registry)

        self.queue_seconds = stage("queue", "Time an item waited for the engine.")
        self.tokenize_seconds = stage("tokenize", "Time to turn a request's items into tokens.")
        self.infer_seconds = stage("infer", "Time of one engine call.")
        self.total_seconds = stage("total", "Time from decoded items to their results.")
        self.batch_items = Histogram("quintet_batch_items", "Items in one engine call.", ITEMS, registry)
        self.batch_tokens = Histogram(
            "quintet_batch_tokens", "Real tokens in one engine call.", TOKENS, registry
        )
        self.batch_padding = Histogram(
            "quintet_batch_padding_ratio",
            "Padding over all tokens computed, of one engine call.",
            SHARES,
            registry,
        )
        self.generated_tokens = Counter("quintet_generated_tokens", "Tokens generated.", registry=registry)
        self.first_token_seconds = stage("first_token", "Time from a sequence's arrival to its first token.")
        self.tokens_per_second = Histogram(
            "quintet_tokens_per_second",
            "Tokens generated over the time it took, of one sequence.",
            RATES,
            registry,
        )
        self.engine_failures = Counter(
            "quintet_engine_failures", "Engine calls that raised.", registry=registry
        )
        self.ready = Gauge("quintet_ready", "1 when ready for traffic.", registry=registry)
        self.load_seconds = Gauge(
            "quintet_load_seconds", "Time from start of loading to ready.", registry=registry
        )
        self.model_info = Gauge(
            "quintet_model_info",
            "1; the labels say what is served.",
            ("model", "engine", "device", "dtype", "checksum"),
            registry=registry,
        )


class Requests(Collector):
    """What is counted of every request, in one go; the three families are made of it at scrape."""

    def __init__(self, seconds: Sequence[float], registry: CollectorRegistry) -> None:
        self._bounds = seconds
        self._counts: dict[tuple[str, str, str, str | int], int] = {}
        self._latency: dict[str, Buckets] = {}
        registry.register(self)

    def observe(self, route: str, transport: str, method: str, code: str | int, seconds: float) -> None:
        """``route``: a template; ``method``: of METHODS or other; ``code``: HTTP status or gRPC code."""
        key = (route, transport, method, code)
        self._counts[key] = self._counts.get(key, 0) + 1
        if (latency := self._latency.get(route)) is None:
            latency = self._latency[route] = Buckets(self._bounds)
        latency.observe(seconds)

    def collect(self) -> Iterator[Metric]:
        api = CounterMetricFamily(
            "api_requests", "Requests answered.", labels=("endpoint", "method", "status")
        )
        requests = CounterMetricFamily(
            "quintet_requests",
            "Requests by route template, transport and the answer's HTTP status or gRPC code.",
            labels=("route", "transport", "code"),
        )
        by_code: dict[tuple[str, str, str], int] = {}
        for (route, transport, method, code), count in self._counts.copy().items():
            api.add_metric((route, method, str(code)), count)
            key = (route, transport, str(code))
            by_code[key] = by_code.get(key, 0) + count
        for key, count in by_code.items():
            requests.add_metric(key, count)
        latency = HistogramMetricFamily(
            "api_request_latency_seconds",
            "Time from the arrival of a request to the end of its answer.",
            labels=("endpoint",),
        )
        for route, buckets in self._latency.copy().items():
            buckets.add_to(latency, (route,))
        yield from (api, requests, latency)
