"""How a Redis or Valkey server is reached by whoever keeps something there."""

from __future__ import annotations

from typing import Any


def connect(url: str, *, password: str = "", timeout: float = 5.0) -> Any:
    """A client; it connects with the first command, and ``timeout`` seconds of silence fail one.

    A command whose connection breaks is sent once more: the pool cannot tell a connection that died while
    nobody used it. So a command may be done twice, and must then say what it said the first time.
    (``Any``: the client's types say that answers may be text as well as bytes.)
    """
    # Only now: where nothing is kept in Redis, nobody needs it.
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import ConnectionError as Broken

    return Redis.from_url(
        url,
        password=password or None,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 1, (Broken,)),
    )
