"""gpt4_nano: a Triton model repository, the transformer in front of it, and its Kafka pipeline.

``backends`` is what runs inside Triton, ``model_repository`` what Triton is pointed at, this folder's own
modules are the transformer, ``pipeline`` answers requests that come over Kafka.
"""
