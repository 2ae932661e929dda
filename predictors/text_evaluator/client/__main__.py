"""The command: posts a file's texts, shows how far their job is, writes the outcomes."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path

from predictors.text_evaluator.client.bar import Bar
from predictors.text_evaluator.client.files import MarksFile, Unusable, read_texts
from predictors.text_evaluator.client.following import PATIENCE, EvaluationFailed, evaluate


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m predictors.text_evaluator.client",
        description="Has a file of texts marked, over lost connections and restarts of the service.",
        epilog="QUINTET_TOKEN: the token, where a gateway asks for one.",
    )
    parser.add_argument("file", type=Path, help="one text a line: id_alumno, curso, consigna, respuesta")
    parser.add_argument("--out", type=Path, help="where to write the outcomes; default: FILE.marks.jsonl")
    parser.add_argument("--url", default="http://localhost:8080", help="default: %(default)s")
    parser.add_argument("--anew", action="store_true", help="a new job, though the file was posted before")
    parser.add_argument(
        "--patience",
        type=float,
        default=PATIENCE,
        metavar="SECONDS",
        help="how long the service may be away at a stretch; default: %(default)g",
    )
    options = parser.parse_args()
    try:
        texts = read_texts(options.file)
        marks = MarksFile(options.out or options.file.with_suffix(".marks.jsonl"), texts)
    except Unusable as error:
        return _failed(error)
    # The same file is the same job: who was cut off begins where it was, by the same command.
    key = None if options.anew else hashlib.sha256(json.dumps(texts).encode()).hexdigest()
    token = os.environ.get("QUINTET_TOKEN", "").strip() or None
    try:
        with Bar(len(texts)) as bar:
            for row in evaluate(
                texts,
                options.url,
                token=token,
                key=key,
                patience=options.patience,
                on_progress=bar.show,
                on_wait=bar.wait,
            ):
                marks.add(row)
        marks.finish()
    except KeyboardInterrupt:
        _say(f"{len(marks.rows)} of {len(texts)} texts written to {marks.path}")
        return 130
    except (EvaluationFailed, Unusable) as error:
        _failed(error)
        _say(f"{len(marks.rows)} of {len(texts)} texts written to {marks.path}")
        return 1
    without = sum("nota" not in row for row in marks.rows.values())
    _say(f"{len(texts)} texts, {without} without a mark, written to {marks.path}")
    return 0


def _failed(error: Exception) -> int:
    _say(f"error: {error}")
    return 1


def _say(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")


if __name__ == "__main__":
    sys.exit(main())
