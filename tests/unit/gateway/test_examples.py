"""The situations in gateway/README.md are whole configs that the gateway takes as they stand."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import pytest
import yaml

from gateway import process
from gateway.config import Config
from gateway.keys import resolve
from gateway.loading import load
from gateway.render import render
from tests.gateway import forge
from tests.support.certificates import write_certificate

FOLDER = Path(__file__).parents[3] / "gateway" / "examples"
EXAMPLES = sorted(FOLDER.glob("*.yaml"))


def provide(config: Config, base: Path) -> None:
    """The files that a real setup has beside its config."""
    for issuer in config.issuers:
        for file in issuer.keys.secret_files:
            resolve(base, file).parent.mkdir(exist_ok=True)
            resolve(base, file).write_text(secrets.token_hex(32))
        if issuer.keys.jwks_file:
            signer = forge.Signer(issuer.issuer, "", "ES256", "k", forge.make_ec())
            resolve(base, issuer.keys.jwks_file).parent.mkdir(exist_ok=True)
            resolve(base, issuer.keys.jwks_file).write_text(json.dumps({"keys": [forge.public_jwk(signer)]}))
    if config.listen.tls:
        write_certificate(resolve(base, config.listen.tls.cert_file).parent)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda f: f.stem)
def test_an_example_is_taken_by_envoy_too(example: Path, tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(example.read_text())
    provide(Config.model_validate(yaml.safe_load(example.read_text())), tmp_path)
    process.validate(render(load(file), tmp_path / "out").bootstrap)


def test_the_readme_shows_each(tmp_path: Path) -> None:
    readme = (FOLDER.parent / "README.md").read_text()
    assert len(EXAMPLES) == 3
    for example in EXAMPLES:
        assert f"examples/{example.name}" in readme
