"""``python -m gateway``: render, validate, serve, token."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from gateway import process
from gateway import token as tokens
from gateway.config import Algorithm, Config, Issuer, bare_audience
from gateway.errors import GatewayError, UsageError
from gateway.keys import Secret, issuer_secrets
from gateway.loading import Loaded, known_scopes, load
from gateway.policy import SUBJECT
from gateway.render import render as render_files
from gateway.values import parse_duration

app = typer.Typer(
    help="The gateway: checks tokens, keeps callers to their models, and routes to the predictors.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

LOCAL_COPY = Path(".local/gateway.yaml")
LOCAL = Path(__file__).with_name("local.yaml")

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="Default: .local/gateway.yaml if there is one, else gateway/local.yaml."),
]


def default_config() -> Path:
    return LOCAL_COPY if LOCAL_COPY.is_file() else LOCAL


@contextmanager
def _sentences() -> Iterator[None]:
    """An error we know is said in its own words, and its class decides the exit code."""
    try:
        yield
    except GatewayError as error:
        _say(str(error))
        raise typer.Exit(error.exit_code) from None


def _say(text: str) -> None:
    """For people; stdout belongs to results."""
    typer.echo(text, err=True)


@app.command()
def render(
    out: Annotated[Path, typer.Option(help="The folder to write to; made if it is not there.")],
    config: ConfigFile = None,
) -> None:
    """Write what `serve` gives to Envoy into a folder, to be read; no key is in it."""
    with _sentences():
        typer.echo(render_files(load(config or default_config()), out).bootstrap)


@app.command()
def validate(config: ConfigFile = None) -> None:
    """Check a config, its key files, and what Envoy says to the result."""
    with _sentences():
        file = config or default_config()
        loaded = load(file)
        with tempfile.TemporaryDirectory(prefix="quintet-gateway-") as folder:
            process.validate(render_files(loaded, Path(folder)).bootstrap)
        _say(f"{file} is valid: {len(loaded.config.models)} model(s), {len(loaded.config.issuers)} issuer(s)")


@app.command()
def serve(config: ConfigFile = None) -> None:
    """Run Envoy and the portal until SIGTERM or Ctrl-C."""
    from gateway.serve import serve as run  # FastAPI and uvicorn: half a second that `token` does not need

    with _sentences():
        asyncio.run(run(load(config or default_config()), _say))


@app.command()
def token(
    scope: Annotated[
        list[str] | None, typer.Option(help="Repeatable, or several with spaces between.")
    ] = None,
    subject: Annotated[str, typer.Option(help="Who the token is for.")] = "developer",
    audience: Annotated[str | None, typer.Option(help="Default: those of the models in the scopes.")] = None,
    expires_in: Annotated[str, typer.Option(help="Seconds, or such as 15m, 1h.")] = "1h",
    alg: Annotated[Algorithm | None, typer.Option(help="Default: what the key is for.")] = None,
    key_file: Annotated[
        Path | None, typer.Option(help="A private key, PEM; default: the shared secret.")
    ] = None,
    kid: Annotated[str | None, typer.Option(help="Default: the gateway's name for the key.")] = None,
    issuer: Annotated[str | None, typer.Option(help="Its name; default: the first that fits.")] = None,
    config: ConfigFile = None,
) -> None:
    """Mint a token; it is the last line of stdout, and all of it."""
    with _sentences():
        loaded = load(config or default_config())
        private = _private_key(key_file)
        position, chosen = tokens.choose_issuer(loaded.config.issuers, issuer, private, loaded.jwks)
        key = _signing_key(loaded, chosen, private, kid)
        if alg not in (None, key.algorithm):
            raise UsageError(f"--alg {alg}: this key is for {key.algorithm}")
        if key.algorithm not in chosen.allowed_algorithms:
            raise UsageError(f"issuers[{position}].algorithms does not allow {key.algorithm}")
        scopes = _scopes(scope, known_scopes(loaded.config))
        claims = tokens.Claims(
            issuer=chosen.issuer,
            subject=_subject(subject),
            audiences=_audiences(audience, scopes, chosen, loaded.config),
            scopes=scopes,
            at=int(time.time()),
            expires_in=_lifetime(expires_in, chosen.max_lifetime),
            token_id=secrets.token_hex(8),
        )
        typer.echo(tokens.mint(claims, key))


def _private_key(file: Path | None) -> tokens.PrivateKey | None:
    if file is None:
        return None
    try:
        return tokens.read_private_key(file.read_bytes())
    except OSError as error:
        raise UsageError(f"--key-file {file} cannot be read ({error.strerror})") from None


def _signing_key(
    loaded: Loaded, issuer: Issuer, private: tokens.PrivateKey | None, kid: str | None
) -> tokens.SigningKey:
    if private is not None:
        return tokens.private_key(private, loaded.jwks.get(issuer.name), kid)
    first = next(issuer_secrets(issuer, loaded.base, loaded.environ), None)
    if not isinstance(first, Secret):  # the config has loaded, so a secret that there is can be read
        raise UsageError(f"issuer {issuer.name} has no shared secret: give --key-file")
    return tokens.secret_key(first, kid)


def _subject(given: str) -> str:
    if not SUBJECT.fullmatch(given):
        raise UsageError(
            "--subject must be printable ASCII without blanks at its ends: the gateway takes no other"
        )
    return given


def _audiences(given: str | None, scopes: tuple[str, ...], issuer: Issuer, config: Config) -> tuple[str, ...]:
    if given is None:
        return tokens.audiences_for(scopes, issuer, config)
    known = config.audiences()
    if bare_audience(given) not in map(bare_audience, known):
        _say(
            f"warning: nothing behind this gateway asks for the audience {given}, only for {', '.join(known)}"
        )
    return (given,)


def _scopes(given: list[str] | None, known: list[str]) -> tuple[str, ...]:
    scopes = tokens.split_scopes(given or [])
    if not scopes:
        _say("no --scope given, so the token is for infer:*")
        return ("infer:*",)
    for unknown, nearest in tokens.unknown_scopes(scopes, known).items():
        hint = f"; did you mean {nearest}?" if nearest else ""
        _say(f"warning: nothing behind this gateway asks for the scope {unknown}{hint}")
    return scopes


def _lifetime(given: str, longest: float) -> int:
    try:
        lifetime = int(parse_duration(f"{given}s" if given.isdigit() else given))  # pyright: ignore[reportArgumentType]
    except ValueError as error:
        raise UsageError(f"--expires-in: {error}") from None
    if not 0 < lifetime <= longest:
        raise UsageError(f"--expires-in must be from 1 to the issuer's max_lifetime, {longest:.0f} s")
    return lifetime


if __name__ == "__main__":
    app(prog_name="python -m gateway")
