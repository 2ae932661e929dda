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
from gateway.config import Algorithm, parse_duration
from gateway.errors import GatewayError, UsageError
from gateway.keys import Secret, issuer_secrets
from gateway.loading import Loaded, known_scopes, load
from gateway.render import render as render_files

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
    """Write Envoy's bootstrap, and the keys it reads, into a folder."""
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
    audience: Annotated[str | None, typer.Option(help="Default: the issuer's first.")] = None,
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
        position, chosen = tokens.choose_issuer(loaded.config.issuers, issuer, key_file is not None)
        key = _signing_key(loaded, chosen.name, key_file, kid)
        if alg not in (None, key.algorithm):
            raise UsageError(f"--alg {alg}: this key is for {key.algorithm}")
        if key.algorithm not in chosen.allowed_algorithms:
            raise UsageError(f"issuers[{position}].algorithms does not allow {key.algorithm}")
        claims = tokens.Claims(
            issuer=chosen.issuer,
            subject=subject,
            audience=audience or chosen.audiences[0],
            scopes=_scopes(scope, known_scopes(loaded.config)),
            at=int(time.time()),
            expires_in=_lifetime(expires_in, chosen.max_lifetime),
            token_id=secrets.token_hex(8),
        )
        typer.echo(tokens.mint(claims, key))


def _signing_key(loaded: Loaded, issuer: str, key_file: Path | None, kid: str | None) -> tokens.SigningKey:
    chosen = next(i for i in loaded.config.issuers if i.name == issuer)
    if key_file is None:
        first = next(issuer_secrets(chosen, loaded.base, loaded.environ), None)
        if not isinstance(first, Secret):  # the config has loaded, so a secret that there is can be read
            raise UsageError(f"issuer {issuer} has no shared secret: give --key-file")
        return tokens.secret_key(first, kid)
    try:
        pem = key_file.read_bytes()
    except OSError as error:
        raise UsageError(f"--key-file {key_file} cannot be read ({error.strerror})") from None
    return tokens.private_key(pem, loaded.jwks.get(issuer), kid)


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
