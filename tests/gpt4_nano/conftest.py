from __future__ import annotations

import unittest
from collections.abc import Iterator

import pytest

from hack.kafka import Broker, KafkaMissing, jars
from hack.system import in_ci
from tests.support import triton
from tests.support.servers import free_port
from tests.support.triton import Triton


@pytest.fixture(scope="session")
def mock_triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """The model repository as it is."""
    with triton.running(tmp_path_factory.mktemp("triton") / "log.txt") as server:
        yield server


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One for all: a test reads what comes after it began, and leaves the topics' requests answered."""
    try:
        jars()
    except KafkaMissing as missing:
        if in_ci():
            raise
        raise unittest.SkipTest(str(missing)) from None
    one = Broker(tmp_path_factory.mktemp("kafka"), free_port(), free_port())
    one.start()
    try:
        yield one
    finally:
        one.stop(kill=True)
