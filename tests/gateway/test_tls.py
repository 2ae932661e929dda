"""The port speaks TLS alone, and a renewed certificate is shown from the next handshake on."""

from __future__ import annotations

import shutil
import socket
import ssl
from collections.abc import Iterator
from http.client import HTTPSConnection
from pathlib import Path

import httpx
import pytest
from cryptography import x509

from tests.gateway.fakes import free_port
from tests.gateway.small import Small, seconds_until, small
from tests.support.certificates import write_certificate

RENEWED_WITHIN = 5.0


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Small]:
    write_certificate(tmp_path / "tls", serial=1)
    tls = {"cert_file": "tls/tls.crt", "key_file": "tls/tls.key"}
    with small(tmp_path, listen={"port": free_port(), "tls": tls}) as running:
        yield running


def trusting(tmp_path: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(tmp_path / "tls" / "tls.crt"))


def shown_serial(port: int) -> int:
    """Whatever it is signed by."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        der = secure.getpeercert(binary_form=True)
    return x509.load_der_x509_certificate(der or b"").serial_number


def test_a_call_over_tls(secured: Small, tmp_path: Path) -> None:
    headers = {"authorization": f"Bearer {secured.token()}"}
    with httpx.Client(verify=trusting(tmp_path)) as client:
        answer = client.get(f"https://localhost:{secured.gateway.port}/v2/models/m", headers=headers)
    assert answer.json()["model"] == "m"
    assert secured.model.seen[0].headers["x-forwarded-proto"] == "https"


@pytest.mark.parametrize("protocol", ["h2", "http/1.1"])
def test_http_2_is_offered(secured: Small, tmp_path: Path, protocol: str) -> None:
    context = trusting(tmp_path)
    context.set_alpn_protocols([protocol])
    with (
        socket.create_connection(("127.0.0.1", secured.gateway.port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        assert secure.selected_alpn_protocol() == protocol
        assert secure.version() == "TLSv1.3"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_old_tls_is_refused(secured: Small, tmp_path: Path) -> None:
    context = trusting(tmp_path)
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with (
        socket.create_connection(("127.0.0.1", secured.gateway.port), timeout=5) as plain,
        pytest.raises(ssl.SSLError),
    ):
        context.wrap_socket(plain, server_hostname="localhost")


def test_plain_http_is_not_answered(secured: Small) -> None:
    """A token sent in the clear is lost before anybody can redirect it, so nothing invites to send one."""
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{secured.gateway.port}/health")


def renew_by_rename(folder: Path, new: Path) -> None:
    for name in ("tls.key", "tls.crt"):
        (new / name).replace(folder / name)


def test_a_renewed_certificate_is_shown_and_open_connections_stay(secured: Small, tmp_path: Path) -> None:
    port = secured.gateway.port
    assert shown_serial(port) == 1
    kept = HTTPSConnection("localhost", port, context=trusting(tmp_path), timeout=10)
    kept.request("GET", "/health")
    assert kept.getresponse().read()
    write_certificate(tmp_path / "new", serial=2)
    renew_by_rename(tmp_path / "tls", tmp_path / "new")
    seconds_until(lambda: shown_serial(port) == 2, RENEWED_WITHIN)
    kept.request("GET", "/health")
    assert kept.getresponse().read()
    kept.close()


def test_a_broken_renewal_changes_nothing_until_it_is_mended(secured: Small, tmp_path: Path) -> None:
    port = secured.gateway.port
    (tmp_path / "broken").write_text("no certificate")
    (tmp_path / "broken").replace(tmp_path / "tls" / "tls.crt")
    seconds_until(lambda: secured.gateway.metric("sds_key_rotation_failed") > 0, RENEWED_WITHIN)
    assert shown_serial(port) == 1
    write_certificate(tmp_path / "new", serial=3)
    renew_by_rename(tmp_path / "tls", tmp_path / "new")
    seconds_until(lambda: shown_serial(port) == 3, RENEWED_WITHIN)


def test_a_secret_that_kubernetes_renews(tmp_path: Path) -> None:
    """There the files are links into a folder that a link names, and the whole is changed by one rename."""
    mount = tmp_path / "mount"
    write_certificate(tmp_path / "first", serial=1)
    mount.mkdir()
    shutil.move(tmp_path / "first", mount / "..2026_1")
    (mount / "..data").symlink_to("..2026_1")
    for name in ("tls.crt", "tls.key"):
        (mount / name).symlink_to(f"..data/{name}")
    tls = {"cert_file": "mount/tls.crt", "key_file": "mount/tls.key"}
    with small(tmp_path, listen={"port": free_port(), "tls": tls}) as running:
        assert shown_serial(running.gateway.port) == 1
        write_certificate(tmp_path / "second", serial=2)
        shutil.move(tmp_path / "second", mount / "..2026_2")
        (mount / "..data_tmp").symlink_to("..2026_2")
        (mount / "..data_tmp").replace(mount / "..data")
        seconds_until(lambda: shown_serial(running.gateway.port) == 2, RENEWED_WITHIN)
