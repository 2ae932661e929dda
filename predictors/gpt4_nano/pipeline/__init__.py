"""Requests over Kafka: inference-requests -> gpt4_nano -> inference-results, and what cannot be answered to
inference-requests-dlq.

A partition has one worker (worker.py), which answers in order and commits results and offsets in one
transaction, under an id that only one process can hold at a time. So a result appears once, whoever dies
when. ``service`` gives the partitions their workers; ``messages`` knows the published schemas.
"""
