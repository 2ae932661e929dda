"""Bytes in, lines, events out, as the standard has it."""

from __future__ import annotations

import pytest
from quintet_client.events import Event, Lines, Parser


def parse(text: str) -> list[Event]:
    parser = Parser()
    return [event for line in text.split("\n") if (event := parser.feed(line))]


def test_events() -> None:
    text = ': heartbeat\n\nevent: batch\nid: 7\ndata: {"a": 1}\n\ndata: x\ndata:  y\n\nevent: lost\n\n'
    first, second = parse(text)
    assert (first.name, first.id, first.data) == ("batch", "7", {"a": 1})
    assert (second.name, second.id, second.data) == ("message", "7", "x\n y")


def test_an_event_without_its_blank_line_is_none_yet() -> None:
    assert parse("data: x") == []


def test_whether_another_connection_can_go_on() -> None:
    parser = Parser()
    assert not parser.cannot_go_on
    for line in ("data: 1", ""):
        parser.feed(line)
    assert parser.cannot_go_on
    for line in ("id: 1", "data: 1", ""):
        parser.feed(line)
    assert not parser.cannot_go_on


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_a_line_ends_where_the_standard_says_and_nowhere_else(size: int) -> None:
    """Not where Unicode knows of a line's end: a model's text may hold one of those."""
    text = "data: é\u2028b\x85c\x0bd\r\n\r\nid: 1\rdata: x\r\rdata: y\n\n"
    sent, lines = text.encode(), Lines()
    chunks = [sent[at : at + size] for at in range(0, len(sent), size)]
    found = [line for chunk in chunks for line in lines.feed(chunk)]
    assert found == ["data: é\u2028b\x85c\x0bd", "", "id: 1", "data: x", "", "data: y", ""]


def test_a_line_is_given_as_soon_as_it_has_ended() -> None:
    lines = Lines()
    assert lines.feed(b"a\r") == ["a"]
    assert lines.feed(b"\nb") == []
    assert lines.feed(b"\n") == ["b"]
