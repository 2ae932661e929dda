from __future__ import annotations

import threading

import pytest

from predictors.runtime.dealing import Dealer, worth_dealing


@pytest.mark.parametrize(
    ("costs", "threads", "worth"),
    [
        ([5.0], 2, False),
        ([5.0, 5.0], 2, True),
        ([9.0, 1.0], 2, False),
        ([5.0, 4.0], 8, False),
        ([1.0] * 100, 8, True),
        ([1.0] * 100, 1, False),
    ],
)
def test_pieces_are_worth_dealing_where_that_keeps_the_threads_busy(
    costs: list[float], threads: int, worth: bool
) -> None:
    assert worth_dealing(costs, threads) == worth


def test_answers_are_in_the_order_of_the_pieces_and_the_dearest_is_begun_first() -> None:
    begun: list[str] = []

    def work(piece: str) -> str:
        begun.append(piece)
        return piece.upper()

    assert Dealer(1, "test").deal(["a", "b", "c"], [1.0, 3.0, 2.0], work) == ["A", "B", "C"]
    assert begun == ["b", "c", "a"]


def test_pieces_are_worked_off_side_by_side() -> None:
    both_are_here = threading.Barrier(2)
    assert sorted(Dealer(2, "test").deal([0, 1], [1.0, 1.0], lambda _: both_are_here.wait(10))) == [0, 1]


def test_what_a_piece_raised_is_raised_when_all_are_through() -> None:
    done: list[int] = []

    def work(piece: int) -> None:
        if piece == 0:
            raise ValueError("piece 0")
        done.append(piece)

    with pytest.raises(ValueError, match="piece 0"):
        Dealer(2, "test").deal([0, 1, 2, 3], [9.0, 1.0, 1.0, 1.0], work)
    assert sorted(done) == [1, 2, 3]
