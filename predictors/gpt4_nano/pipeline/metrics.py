"""What the pipeline counts. The first five keep the names of the original."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, Summary

TOKENS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class PipelineMetrics:
    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.registry = registry
        self.inference_seconds = Summary(
            "consumer_inference_seconds", "Time of one call of the model.", registry=registry
        )
        self.inference = Counter(
            "consumer_inference",
            "Messages settled, by outcome: success, failure, dlq or duplicate.",
            ("status",),
            registry=registry,
        )
        self.tokens_used = Histogram(
            "consumer_tokens_used", "Tokens of a response.", buckets=TOKENS, registry=registry
        )
        self.errors = Counter(
            "consumer_errors", "Errors, by the error_type of the result.", ("error_type",), registry=registry
        )
        self.response_time = Histogram(
            "consumer_response_time_seconds",
            "Time from a message's arrival at the broker to its committed outcome.",
            buckets=SECONDS,
            registry=registry,
        )
        self.retries = Counter(
            "consumer_retries", "Calls made again, by error code.", ("reason",), registry=registry
        )
        self.dlq = Counter(
            "consumer_dlq", "Messages to the dead letter topic, by reason.", ("reason",), registry=registry
        )
        self.restarts = Counter(
            "consumer_worker_restarts", "Times a partition's worker began anew.", registry=registry
        )
        self.in_flight = Gauge("consumer_in_flight", "Messages being answered.", registry=registry)
        self.lag = Gauge(
            "consumer_lag", "Messages without a committed outcome.", ("partition",), registry=registry
        )
        self.oldest_age = Gauge(
            "consumer_oldest_age_seconds",
            "Age of the oldest message that is being answered; 0 when there is none.",
            registry=registry,
        )
        self.ready = Gauge("consumer_ready", "1 when ready.", registry=registry)
