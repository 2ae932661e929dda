"""Domain routes without the framework in between, for requests that have nothing wrong with them.

FastAPI finds the route, reads the body and says what is wrong with it, at twice the cost of all else that a
small request needs. A route that takes one JSON body and makes its own answer is called here directly; what
is not a good request for one is left to FastAPI, which has the words for it.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable
from typing import NamedTuple, get_type_hints

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.responses import Response

from predictors.runtime.transports.http import is_plain_json


class DomainRoute(NamedTuple):
    path: str
    body: type[BaseModel]
    endpoint: Callable[[BaseModel], Awaitable[Response]]

    def read(self, headers: dict[bytes, bytes], body: bytes) -> BaseModel | None:
        """What the endpoint takes; None for a body that FastAPI would refuse, or read in another way."""
        if not is_plain_json(headers):
            return None
        try:
            return self.body.model_validate(json.loads(body))  # as FastAPI does, so NaN is a number here too
        except (ValidationError, ValueError, RecursionError):
            return None


def domain_routes(api: FastAPI) -> dict[str, DomainRoute]:
    """By path, those POST routes that need no more of a request than a body, and of FastAPI nothing."""
    found = {}
    for route in api.routes:
        if not isinstance(route, APIRoute) or route.methods != {"POST"} or "{" in route.path:
            continue
        hints = get_type_hints(route.endpoint)
        answer = hints.pop("return", None)
        parameters = inspect.signature(route.endpoint).parameters
        if route.dependencies or len(parameters) != 1 or not _is(answer, Response):
            continue
        (body,) = hints.values()
        if _is(body, BaseModel) and inspect.iscoroutinefunction(route.endpoint):
            found[route.path] = DomainRoute(route.path, body, route.endpoint)
    return found


def _is(hint: object, base: type) -> bool:
    return inspect.isclass(hint) and issubclass(hint, base)
