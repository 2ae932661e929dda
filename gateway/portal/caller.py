"""Who asks, as far as a page of ours needs to know: what Envoy found in the token and hands to us alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.config import Config, bare_audience
from gateway.policy import ISSUER_HEADER
from gateway.routes import Route, accepted_scopes


@dataclass(frozen=True)
class Caller:
    issuer: str
    scopes: frozenset[str]
    audiences: frozenset[str]
    """As Envoy compares them."""

    def may_use(self, route: Route, config: Config) -> bool:
        """Whether Envoy would let this caller through; it is Envoy that decides, this only says so ahead."""
        if route.scope is None:
            return True
        return bool(self.scopes.intersection(accepted_scopes(route.scope))) and self._is_for(route, config)

    def _is_for(self, route: Route, config: Config) -> bool:
        asked = config.models[route.model].audiences if route.model else config.audiences()
        if asked is None:
            asked = [a for one in config.issuers if one.issuer == self.issuer for a in one.audiences]
        return not self.audiences.isdisjoint(map(bare_audience, asked))


def caller_of(headers: Mapping[str, str]) -> Caller:
    scopes = [*_several(headers.get("x-quintet-scope", "")), *_several(headers.get("x-quintet-scp", ""))]
    audiences = map(bare_audience, _several(headers.get("x-quintet-audience", "")))
    return Caller(headers.get(ISSUER_HEADER, ""), frozenset(scopes), frozenset(audiences))


def _several(value: str) -> list[str]:
    """A claim as Envoy writes it: a list as JSON, a string as it is, one that is missing as a dash."""
    try:
        found = json.loads(value)
    except ValueError:
        return [value] if value not in ("", "-") else []
    return [entry for entry in found if isinstance(entry, str)] if isinstance(found, list) else []
