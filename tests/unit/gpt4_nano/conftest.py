from __future__ import annotations

import collections


class Listener:
    """Who the rows are answered to: notes the pieces; ``left`` are the rows whose callers have gone."""

    def __init__(self, *left: int) -> None:
        self.pieces: collections.defaultdict[int, list[str]] = collections.defaultdict(list)
        self.left = set(left)

    def piece(self, row: int, text: str) -> None:
        self.pieces[row].append(text)

    def gone(self, row: int) -> bool:
        return row in self.left
