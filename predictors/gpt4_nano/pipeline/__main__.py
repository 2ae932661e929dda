"""``python -m predictors.gpt4_nano.pipeline``: the consumer service."""

import asyncio
import logging
import sys

from predictors.gpt4_nano.pipeline.metrics import PipelineMetrics
from predictors.gpt4_nano.pipeline.service import Service
from predictors.gpt4_nano.pipeline.settings import PipelineSettings
from predictors.runtime.logging import configure_logging
from predictors.runtime.settings import SettingsError


async def _serve(settings: PipelineSettings) -> None:
    await Service(settings, PipelineMetrics()).run()


def main() -> int:
    configure_logging("INFO")
    try:
        settings = PipelineSettings.from_environment()
    except SettingsError as error:
        for reason in error.reasons:
            logging.getLogger(__name__).error("%s", reason)
        return 2
    configure_logging(settings.log_level)
    logging.getLogger("aiokafka").setLevel("ERROR")
    asyncio.run(_serve(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
