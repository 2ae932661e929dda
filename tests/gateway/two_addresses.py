"""``python -m gateway`` where every model's name has a second address, as a headless Service's has.

Envoy asks the machine's own resolver, which a test cannot make say so; all else is as it is.
"""

from __future__ import annotations

import copy
from typing import Any

from gateway import render
from gateway.__main__ import app
from gateway.config import Config
from gateway.folder import RunFolder

SECOND = "127.0.0.2"
_bootstrap = render.bootstrap


def with_second_address(config: Config, folder: RunFolder) -> dict[str, Any]:
    built = _bootstrap(config, folder)
    for cluster in built["static_resources"]["clusters"]:
        if cluster["name"].removesuffix("-grpc") in config.models:
            endpoints = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
            second = copy.deepcopy(endpoints[0])
            second["endpoint"]["address"]["socket_address"]["address"] = SECOND
            endpoints.append(second)
    return built


if __name__ == "__main__":
    render.bootstrap = with_second_address
    app(prog_name="python -m gateway")
