"""gpt2 whose steps take as long as those of a big model; all else is as it is.

Run as ``python -m tests.support.slow_gpt2``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from predictors.gpt2.engine.decoder import TextDecoder, Work
from predictors.gpt2.predictor import Gpt2
from predictors.gpt2.settings import Gpt2Settings
from predictors.runtime.decoding import DecoderThread, News
from predictors.runtime.main import main
from predictors.runtime.metrics import Metrics

STEP_SECONDS = 0.05


class SlowDecoder(TextDecoder):
    def step(self) -> Iterator[News]:
        time.sleep(STEP_SECONDS)
        return super().step()


class SlowGpt2(Gpt2):
    def engine(self, loop: asyncio.AbstractEventLoop, metrics: Metrics) -> DecoderThread[Work]:
        return DecoderThread(SlowDecoder(), loop, metrics)


if __name__ == "__main__":
    main(Gpt2Settings, SlowGpt2)
