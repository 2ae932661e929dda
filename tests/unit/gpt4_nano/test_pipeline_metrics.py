"""The consumer's metrics are what Prometheus takes, with buckets that fit what they count."""

from __future__ import annotations

import subprocess

from prometheus_client import CollectorRegistry, generate_latest

from predictors.gpt4_nano.pipeline.metrics import PipelineMetrics


def test_they_are_what_prometheus_takes(promtool: str) -> None:
    metrics = PipelineMetrics(CollectorRegistry())
    metrics.tokens_used.observe(300)
    metrics.inference.labels("success").inc()
    metrics.lag.labels("0").set(3)
    text = generate_latest(metrics.registry).decode()
    run = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout + run.stderr) == (0, "")
    assert 'consumer_tokens_used_bucket{le="256.0"} 0.0' in text
    assert 'consumer_tokens_used_bucket{le="512.0"} 1.0' in text
