"""Event loops for tests of what depends on time."""

from __future__ import annotations

import asyncio


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose clock moves only when the test moves it."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def settle(self) -> None:
        """Runs everything that can run at this moment."""

        async def turns() -> None:
            for _ in range(10):
                await asyncio.sleep(0)

        self.run_until_complete(turns())
