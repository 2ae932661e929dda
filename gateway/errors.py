"""Errors that end a command: each knows its exit code and speaks in sentences."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake in a config file, and where it stands."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what


class GatewayError(Exception):
    """Something outside the config went wrong: a port in use, no Envoy, Envoy died."""

    exit_code = 1


class ConfigError(GatewayError):
    """The config cannot be used; holds every reason found."""

    exit_code = 2

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self.problems = problems
        count = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        super().__init__("\n".join([f"{file}: {count}", *(f"  {p}" for p in problems)]))


class UsageError(GatewayError):
    """A command was asked for something that the config does not allow."""

    exit_code = 2
