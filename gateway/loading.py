"""gateway.yaml -> a config that can be used, or every mistake in it at once.

A reader who fixes one mistake and meets the next has been told too little, so sections that are sound are
checked against each other even when others are not.
"""

from __future__ import annotations

import difflib
import os
import types
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from gateway.certificates import authority_problems, certificate_problems
from gateway.config import (
    Admin,
    Config,
    Issuer,
    Kind,
    Listen,
    Model,
    Monitoring,
    Portal,
    bare_audience,
    kubernetes_name,
)
from gateway.errors import ConfigError, Problem
from gateway.keys import Jwks, issuer_jwks, resolve
from gateway.routes import READ_MODELS, RESERVED, domain_routes, extension_paths
from gateway.values import ModelName

#: Scopes that belong to no single model.
SHARED_SCOPES = frozenset({READ_MODELS, "jobs:admin"})

SectionT = TypeVar("SectionT", bound=BaseModel)


@dataclass(frozen=True)
class Loaded:
    """A sound config with the folder its paths are relative to and the key material it names."""

    config: Config
    base: Path
    jwks: Mapping[str, Jwks]
    """By issuer name; an issuer whose keys are fetched has none."""
    environ: Mapping[str, str]


def load(file: Path, environ: Mapping[str, str] = os.environ) -> Loaded:
    base = (
        file.absolute().parent
    )  # not where a link leads: a mounted ConfigMap is one, its neighbours are not
    raw = _read_yaml(file)
    problems: list[Problem] = []
    config: Config | None = None
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        problems += [_problem(e, Config) for e in error.errors(include_url=False)]
    issuers, models = _sound_issuers(raw), _sound_models(raw)
    problems += _port_problems(raw)
    problems += _issuer_problems(issuers)
    jwks: dict[str, Jwks] = {}
    for i, issuer in issuers.items():
        keys, found = issuer_jwks(issuer, base, f"issuers[{i}]", environ)
        problems += found
        if keys is not None:
            jwks[issuer.name] = keys
        if (issuer.keys.jwks_url or "").startswith("https:"):
            problems += authority_problems(issuer.keys.ca_file, base, f"issuers[{i}].keys.ca_file")
    problems += _secret_problems(issuers, jwks)
    problems += _model_problems(models)
    problems += _audience_problems(issuers, models)
    listen = _sound(Listen, raw.get("listen", {}))
    if listen is not None and listen.tls is not None:
        problems += certificate_problems(listen.tls, base, "listen.tls")
    if config is None or problems:
        raise ConfigError(str(file), list(dict.fromkeys(problems)))
    return Loaded(_with_whole_paths(config, base), base, jwks, environ)


def _with_whole_paths(config: Config, base: Path) -> Config:
    """Those of the files that are read later, by Envoy and by the portal."""
    issuers = [
        issuer.model_copy(
            update={"keys": issuer.keys.model_copy(update={"ca_file": resolve(base, issuer.keys.ca_file)})}
        )
        for issuer in config.issuers
    ]
    portal = config.portal
    if asked := portal.kubernetes:
        files = {name: resolve(base, getattr(asked, name)) for name in ("token_file", "ca_file")}
        portal = portal.model_copy(update={"kubernetes": asked.model_copy(update=files)})
    return config.model_copy(update={"issuers": issuers, "portal": portal})


# --- reading --------------------------------------------------------------------------------------


class _UniqueKeyLoader(yaml.SafeLoader):
    """PyYAML lets a later key win over an earlier one in silence; here that is a mistake."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":  # what it brings may be said anew
                continue
            key = self.construct_object(key_node, deep=True)  # pyright: ignore[reportUnknownMemberType]
            if isinstance(key, str | int) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands here twice", key_node.start_mark
                )
            if isinstance(key, str | int):
                seen.add(key)
        return super().construct_mapping(node, deep)


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        raw = yaml.load(file.read_text("utf-8"), _UniqueKeyLoader)
    except FileNotFoundError:
        raise ConfigError(str(file), [Problem("", "there is no such file")]) from None
    except OSError as error:
        raise ConfigError(str(file), [Problem("", f"cannot be read ({error.strerror})")]) from None
    except UnicodeDecodeError:
        raise ConfigError(str(file), [Problem("", "is not UTF-8 text")]) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(str(file), [Problem(where, error.problem or "is not YAML")]) from None
    except yaml.YAMLError as error:
        raise ConfigError(str(file), [Problem("", f"is not YAML ({error})")]) from None
    if not isinstance(raw, dict):
        raise ConfigError(str(file), [Problem("", "must be a map with issuers and models")])
    return raw


# --- pydantic's errors in our words ---------------------------------------------------------------


def _problem(error: Any, root: type[BaseModel]) -> Problem:
    loc: tuple[str | int, ...] = tuple(part for part in error["loc"] if part != "[key]")
    kind, message = error["type"], error["msg"]
    if kind == "extra_forbidden":
        return Problem(path_text(loc), _unknown_key(str(loc[-1]), _fields_at(root, loc[:-1])))
    if kind == "missing":
        return Problem(path_text(loc), "is required")
    if kind == "value_error":
        message = str(error["ctx"]["error"])
    elif kind == "string_pattern_mismatch":
        message = f"{error['input']!r} does not match {error['ctx']['pattern']}"
    return Problem(path_text(loc), message)


def path_text(loc: Iterable[str | int]) -> str:
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _unknown_key(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"unknown key; did you mean {near[0]}?" if near else f"unknown key; known are {', '.join(known)}"


def _fields_at(root: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    """The keys that are known at a place in the file."""
    here: Any = root
    for part in loc:
        here = _plain_type(here)
        if isinstance(here, type) and issubclass(here, BaseModel):
            here = here.model_fields[str(part)].annotation
        else:  # list[X] or dict[K, X]
            here = get_args(here)[-1]
    here = _plain_type(here)
    return list(here.model_fields)


def _plain_type(annotation: Any) -> Any:
    """Without Annotated and ``| None``."""
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation = get_args(annotation)[0]
        elif origin in (Union, types.UnionType):
            annotation = next(a for a in get_args(annotation) if a is not type(None))
        else:
            return annotation


# --- what is sound, even if the rest is not -------------------------------------------------------


def _sound(section: type[SectionT], raw: object) -> SectionT | None:
    try:
        return section.model_validate(raw)
    except ValidationError:
        return None


def _sound_issuers(raw: Mapping[str, Any]) -> dict[int, Issuer]:
    entries = raw.get("issuers")
    found = enumerate(entries if isinstance(entries, list) else [])
    return {i: issuer for i, entry in found if (issuer := _sound(Issuer, entry))}


def _sound_models(raw: Mapping[str, Any]) -> dict[str, Model]:
    entries = raw.get("models")
    found: dict[str, Model] = {}
    for name, entry in entries.items() if isinstance(entries, dict) else ():
        try:
            TypeAdapter(ModelName).validate_python(name)
            found[name] = Model.model_validate(entry)
        except ValidationError:
            continue
    return found


# --- rules between sections -----------------------------------------------------------------------


def _port_problems(raw: Mapping[str, Any]) -> Iterator[Problem]:
    taken: dict[int, str] = {}
    sections = (("listen", Listen), ("admin", Admin), ("portal", Portal), ("monitoring", Monitoring))
    for name, section in sections:
        sound = _sound(section, raw.get(name, {}))
        if sound is None:  # or not there: monitoring has no port of its own accord
            continue
        if sound.port in taken:
            yield Problem(f"{name}.port", f"{sound.port} is already {taken[sound.port]}'s")
        taken.setdefault(sound.port, name)


def _issuer_problems(issuers: Mapping[int, Issuer]) -> Iterator[Problem]:
    names: dict[str, int] = {}
    same: dict[str, int] = {}
    for i, issuer in issuers.items():
        if issuer.name in names:
            yield Problem(f"issuers[{i}].name", f"{issuer.name} is already issuers[{names[issuer.name]}]'s")
        names.setdefault(issuer.name, i)
        first = same.setdefault(issuer.issuer, i)
        if issuer.token_types != issuers[first].token_types:
            both = f"of {issuer.issuer}, as is issuers[{first}], so they must be the same"
            yield Problem(f"issuers[{i}].token_types", both)


def _secret_problems(issuers: Mapping[int, Issuer], jwks: Mapping[str, Jwks]) -> Iterator[Problem]:
    """A secret signs as well as it verifies, so it is one issuer's."""
    owners: dict[str, int] = {}
    for i, issuer in issuers.items():
        secrets = [key["k"] for key in jwks.get(issuer.name, {}).get("keys", ()) if key["kty"] == "oct"]
        shared = [owners[secret] for secret in secrets if secret in owners]
        if shared and issuer.issuer != issuers[shared[0]].issuer:
            yield Problem(f"issuers[{i}].keys", f"a secret of issuers[{shared[0]}]'s is here as well")
        owners |= {secret: i for secret in secrets if secret not in owners}


def _audience_problems(issuers: Mapping[int, Issuer], models: Mapping[str, Model]) -> Iterator[Problem]:
    named = [(f"issuers[{i}].audiences", issuer.audiences) for i, issuer in issuers.items()]
    named += [(f"models.{name}.audiences", model.audiences or []) for name, model in models.items()]
    bare: dict[str, str] = {}
    for where, audiences in named:
        for audience in audiences:
            key = bare_audience(audience)
            if bare.setdefault(key, audience) != audience:
                yield Problem(where, f"{audience!r} and {bare[key]!r} are the same audience to Envoy")


def _model_problems(models: Mapping[str, Model]) -> Iterator[Problem]:
    kubernetes: dict[str, str] = {}
    for name, model in models.items():
        label = kubernetes_name(name, model)
        where = f"models.{name}.kubernetes_name"
        if label in kubernetes:
            yield Problem(where, f"{label} is already {kubernetes[label]}'s")
        elif label in RESERVED:
            yield Problem(where, f"{label} is the gateway's own path")
        kubernetes.setdefault(label, name)

        streams = model.per_caller is not None and model.per_caller.streams is not None
        if streams and not any(route.kind is Kind.STREAM for route in model.routes):
            yield Problem(f"models.{name}.per_caller.streams", "this model has no route of kind stream")

    owners: dict[tuple[str, str], str] = {}
    reserved = RESERVED | kubernetes.keys()
    for name, model in models.items():
        for i, route in enumerate(model.routes):
            where = f"models.{name}.routes[{i}]"
            first = route.path.split("/")[1]
            taken = first in reserved or first.startswith(("inference.", "{"))
            if taken and route.path not in extension_paths(name):
                yield Problem(f"{where}.path", f"{route.path} is in the space of the gateway's own routes")
            verb, _, target = (route.scope or "").partition(":")
            if route.scope and target != name and route.scope not in SHARED_SCOPES:
                near = difflib.get_close_matches(route.scope, [f"{verb}:{name}", *sorted(SHARED_SCOPES)], n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                yield Problem(f"{where}.scope", f"{route.scope} is not a scope of this model{hint}")
            for entry in domain_routes(name, route):
                key = (entry.method, entry.shape)
                if key in owners:
                    yield Problem(f"{where}.path", f"{entry.method} {entry.path} is already {owners[key]}")
                owners.setdefault(key, where)


def known_scopes(config: Config) -> list[str]:
    """Every scope that some route asks for, and the two that predictors and the portal look at."""
    by_model: dict[str, set[str]] = defaultdict(set)
    for name, model in config.models.items():
        by_model[name].add(f"infer:{name}")
        by_model[name].update(route.scope for route in model.routes if route.scope)
    scopes = [scope for name in by_model for scope in sorted(by_model[name])]
    return list(dict.fromkeys(["infer:*", *scopes, *sorted(SHARED_SCOPES)]))
