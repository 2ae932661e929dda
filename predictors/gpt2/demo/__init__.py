"""The demo models: three small GPT-2s in the published file formats, trained on text made here.

``data`` makes the texts, ``model`` is the published architecture, ``train`` trains it, ``build`` writes the
checkpoints and converts them. Made by ``python -m predictors.gpt2.demo OUT_DIR``, never committed.
"""

FORMAT_VERSION = 3
"""Raise it with the converter's: a folder made before is then not taken for a new one."""
