"""A certificate that cannot be used is a mistake of the config, said before Envoy starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.certificates import certificate_problems
from gateway.config import Tls
from tests.support.certificates import write_certificate


def problems(base: Path, cert: str = "tls/tls.crt", key: str = "tls/tls.key") -> list[str]:
    tls = Tls(cert_file=Path(cert), key_file=Path(key))
    return [str(problem) for problem in certificate_problems(tls, base, "listen.tls")]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    write_certificate(tmp_path / "tls")
    return tmp_path


def test_a_sound_pair(base: Path) -> None:
    assert problems(base) == []


def test_the_key_of_another(base: Path) -> None:
    cert = (base / "tls" / "tls.crt").read_bytes()
    write_certificate(base / "tls")
    (base / "tls" / "tls.crt").write_bytes(cert)
    (only,) = problems(base)
    assert only == f"listen.tls.key_file: {base}/tls/tls.key is not the key of {base}/tls/tls.crt"


def test_one_that_has_ended(base: Path) -> None:
    write_certificate(base / "tls", days=-1)
    (only,) = problems(base)
    assert only.startswith(f"listen.tls.cert_file: the certificate in {base}/tls/tls.crt ended on 2")


def test_files_that_are_none_are_all_said(base: Path) -> None:
    for name in ("tls.crt", "tls.key"):
        (base / "tls" / name).write_text("not PEM")
    assert problems(base) == [
        f"listen.tls.cert_file: {base}/tls/tls.crt holds no certificate in PEM form",
        f"listen.tls.key_file: {base}/tls/tls.key holds no unencrypted private key in PEM form",
    ]
    assert [p.split(": ")[0] for p in problems(base, cert="tls/none")] == [
        "listen.tls.cert_file",
        "listen.tls.key_file",
    ]


def test_a_key_from_elsewhere_would_not_be_watched(base: Path) -> None:
    write_certificate(base / "other")
    found = problems(base, cert="other/tls.crt")
    assert f"listen.tls.key_file: must stand in {base}/other, the folder that is watched" in found
