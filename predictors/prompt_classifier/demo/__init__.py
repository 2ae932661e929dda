"""A small checkpoint in the published file format, trained here on prompts the project makes itself.

It lets the whole stack answer sensibly on a machine that holds no published weights and has no network.
``python -m predictors.prompt_classifier.demo OUT_DIR`` makes one.
"""

FORMAT_VERSION = 1
"""Counts up when the files on disk change in a way their makers' sources alone do not show."""
