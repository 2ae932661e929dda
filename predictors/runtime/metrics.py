"""The metrics of one predictor process, under one registry-wide set of names.

No label value comes from a client: routes are templates, methods and codes are closed sets, and what we
do not know is counted under ``other``. ``api_*`` keep the names the original services published.
"""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
)  # fmt: skip
ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
RATES = (1, 2, 5, 10, 20, 50, 100, 150, 200, 300, 500, 1000)
SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "RPC"})


class Metrics:
    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.registry = registry
        self.api_requests = Counter(
            "api_requests", "Requests answered.", ("endpoint", "method", "status"), registry=registry
        )
        self.api_latency = Histogram(
            "api_request_latency_seconds",
            "Time from the arrival of a request to the end of its answer.",
            ("endpoint",),
            buckets=SECONDS,
            registry=registry,
        )
        self.requests = Counter(
            "quintet_requests",
            "Requests by route template, transport and the answer's HTTP status or gRPC code.",
            ("route", "transport", "code"),
            registry=registry,
        )
        self.in_flight = Gauge(
            "quintet_requests_in_flight", "Requests being worked on.", ("transport",), registry=registry
        )
        self.queue_items = Gauge("quintet_queue_items", "Items waiting for the engine.", registry=registry)
        self.queue_tokens = Gauge("quintet_queue_tokens", "Tokens waiting for the engine.", registry=registry)
        self.rejections = Counter(
            "quintet_rejections", "Requests refused or given up, by reason.", ("reason",), registry=registry
        )
        self.queue_seconds = self._seconds("queue", "Time an item waited for the engine.")
        self.tokenize_seconds = self._seconds("tokenize", "Time to turn a request's items into tokens.")
        self.infer_seconds = self._seconds("infer", "Time of one engine call.")
        self.total_seconds = self._seconds("total", "Time from decoded items to their results.")
        self.batch_items = Histogram(
            "quintet_batch_items", "Items in one engine call.", buckets=ITEMS, registry=registry
        )
        self.batch_tokens = Histogram(
            "quintet_batch_tokens", "Real tokens in one engine call.", buckets=TOKENS, registry=registry
        )
        self.batch_padding = Histogram(
            "quintet_batch_padding_ratio",
            "Padding over all tokens computed, of one engine call.",
            buckets=SHARES,
            registry=registry,
        )
        self.generated_tokens = Counter("quintet_generated_tokens", "Tokens generated.", registry=registry)
        self.first_token_seconds = self._seconds(
            "first_token", "Time from a sequence's arrival to its first token."
        )
        self.tokens_per_second = Histogram(
            "quintet_tokens_per_second",
            "Tokens generated over the time it took, of one sequence.",
            buckets=RATES,
            registry=registry,
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

    def _seconds(self, stage: str, text: str) -> Histogram:
        return Histogram(f"quintet_{stage}_seconds", text, buckets=SECONDS, registry=self.registry)


class RouteMetrics:
    """The children of one (route, transport), looked up once: labels() costs more than the counting."""

    def __init__(self, metrics: Metrics, route: str, transport: str) -> None:
        self._metrics = metrics
        self._route, self._transport = route, transport
        self._latency = metrics.api_latency.labels(route)
        self._counters: dict[tuple[str, str], tuple[Counter, Counter]] = {}

    def observe(self, method: str, code: str, seconds: float) -> None:
        key = (method if method in METHODS else "other", code)
        counters = self._counters.get(key)
        if counters is None:
            counters = self._counters[key] = (
                self._metrics.api_requests.labels(self._route, *key),
                self._metrics.requests.labels(self._route, self._transport, code),
            )
        counters[0].inc()
        counters[1].inc()
        self._latency.observe(seconds)
