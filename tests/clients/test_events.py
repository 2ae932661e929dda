"""Lines in, events out, as the standard has it."""

from __future__ import annotations

from quintet_client.events import Event, Parser


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
