"""Calls quintet's models through its gateway. See the README beside this package.

with Client("https://models.example.com", token=ClientCredentials(...)) as client:
    client.send(calls.classify(["Write a haiku."]))
"""

from . import calls, errors
from .aio import AsyncClient
from .calls import Call, Tensor
from .events import Event
from .retrying import Retries
from .sync import Client
from .tokens import ClientCredentials, Token
from .triton import AsyncOpenAITritonService, OpenAITritonService

__all__ = [
    "AsyncClient",
    "AsyncOpenAITritonService",
    "Call",
    "Client",
    "ClientCredentials",
    "Event",
    "OpenAITritonService",
    "Retries",
    "Tensor",
    "Token",
    "calls",
    "errors",
]
