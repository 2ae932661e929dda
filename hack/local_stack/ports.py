"""Whether the ports are free, asked before anything starts."""

from __future__ import annotations

import socket
from collections.abc import Iterable

import psutil

from hack.local_stack.errors import StackError
from hack.local_stack.plan import Port


def check_free(ports: Iterable[Port]) -> None:
    for port in ports:
        family = socket.AF_INET6 if ":" in port.host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((port.host, port.number))
            except OSError as error:
                why = _why(port.number, error)
                raise StackError(
                    f"port {port.number}, which {port.wanted_by} needs, cannot be used: {why}"
                ) from None


def _why(port: int, error: OSError) -> str:
    holder = _holder(port)
    return f"{holder} is listening on it" if holder else f"{error.strerror}"


def _holder(port: int) -> str | None:
    """Who listens there, as far as this user may know."""
    try:
        for connection in psutil.net_connections("tcp"):
            listening = connection.status == psutil.CONN_LISTEN
            # A socket may have no address at all.
            if listening and getattr(connection.laddr, "port", None) == port and connection.pid:
                return f"process {connection.pid} ({psutil.Process(connection.pid).name()})"
    except (psutil.Error, OSError):
        pass
    return None
