"""The catalogue's view of the cluster: read from an API server's lists, and unknown wherever it cannot be."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from gateway.config import Config
from gateway.loading import load
from gateway.portal import kubernetes
from gateway.portal.app import create_app
from gateway.portal.kubernetes import KubernetesState, Observed, Replicas, Status
from tests.support.certificates import write_certificate

from .conftest import SOUND

ALPHA, BETA = "alpha", "beta-two"
Answer = tuple[int, Any]


def service(name: str, *conditions: dict[str, str], **predictor: Any) -> dict[str, Any]:
    """An InferenceService as the API server shows it, most of it left out."""
    status = {"conditions": list(conditions)} if conditions else {}
    return {"metadata": {"name": name}, "spec": {"predictor": predictor}, "status": status}


def deployment(name: str, wanted: int, ready: int) -> dict[str, Any]:
    status = {"replicas": wanted, "readyReplicas": ready} if ready else {"replicas": wanted}
    return {"metadata": {"name": name}, "spec": {"replicas": wanted}, "status": status}


READY = {"type": "Ready", "status": "True"}
WAITING = {"type": "Ready", "status": "False", "reason": "MinimumReplicasUnavailable", "message": "a secret"}
SERVICES = [
    service(ALPHA, {"type": "PredictorReady", "status": "True"}, READY, nodeSelector={"gpu": "t4"}),
    service(BETA, WAITING),
    service("another-s", READY),
]
DEPLOYMENTS = [deployment(f"{ALPHA}-predictor", 2, 2), deployment(f"{BETA}-predictor", 1, 0)]


class Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who was kept waiting has hung up."""


class ApiServer:
    """Speaks as much of the Kubernetes API as the gateway asks."""

    def __init__(self) -> None:
        self.token = "token-1"
        self.services: Answer = (200, {"kind": "InferenceServiceList", "items": SERVICES})
        self.deployments: Answer = (200, {"kind": "DeploymentList", "items": DEPLOYMENTS})
        self.silent = False
        self.end = threading.Event()
        self.asked: list[str] = []
        self.address = ""

    def answer(self, path: str, authorization: str | None) -> Answer:
        self.asked.append(path)
        if self.silent:
            self.end.wait(10)
        if authorization != f"Bearer {self.token}":
            return 401, {"kind": "Status", "reason": "Unauthorized"}
        url = urlsplit(path)
        if parse_qs(url.query) != {"labelSelector": ["app.kubernetes.io/instance=quintet"]}:
            return 400, {}
        return {
            "/apis/serving.kserve.io/v1beta1/namespaces/models/inferenceservices": self.services,
            "/apis/apps/v1/namespaces/models/deployments": self.deployments,
        }.get(url.path, (404, {"kind": "Status", "reason": "NotFound"}))

    @contextmanager
    def serving(self, context: ssl.SSLContext | None = None) -> Iterator[None]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = api.answer(self.path, self.headers["authorization"])
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        with Server(("127.0.0.1", 0), Handler) as server:
            if context:
                # The handshake is the handler's thread's: one that hangs keeps nobody else waiting.
                server.socket = context.wrap_socket(
                    server.socket, server_side=True, do_handshake_on_connect=False
                )
            self.address = f"{'https' if context else 'http'}://localhost:{server.server_address[1]}"
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            try:
                yield
            finally:
                self.end.set()
                server.shutdown()
                thread.join()


@pytest.fixture
def api() -> Iterator[ApiServer]:
    server = ApiServer()
    with server.serving():
        yield server


@pytest.fixture
def config(api: ApiServer, tmp_path: Path) -> Config:
    return asking(api, tmp_path)


def asking(api: ApiServer, folder: Path) -> Config:
    (folder / "token").write_text(f"{api.token}\n")
    kubernetes = {
        "namespace": "models",
        "selector": "app.kubernetes.io/instance=quintet",
        "api": api.address,
        "token_file": str(folder / "token"),
        "ca_file": str(folder / "tls.crt"),
    }
    return Config.model_validate(SOUND | {"portal": {"kubernetes": kubernetes}})


async def seen(config: Config) -> dict[str, Observed]:
    return await KubernetesState(config).models()


async def test_status_replicas_and_nodes_are_the_clusters_word(config: Config) -> None:
    assert await seen(config) == {
        "alpha": Observed(Status.READY, None, Replicas(2, 2), {"gpu": "t4"}),
        "beta_two": Observed(Status.NOT_READY, "MinimumReplicasUnavailable", Replicas(0, 1), {}),
    }


async def test_what_kserve_has_not_yet_seen_is_not_ready(api: ApiServer, config: Config) -> None:
    api.services = (200, {"items": [service(ALPHA)]})
    api.deployments = (200, {"items": []})
    assert await seen(config) == {
        "alpha": Observed(Status.NOT_READY, None, None, {}),
        "beta_two": Observed(Status.MISSING),
    }


async def test_a_model_may_be_called_otherwise_there(api: ApiServer, config: Config) -> None:
    """As in a release that puts its name in front."""
    api.services = (200, {"items": [service("blue-alpha", READY)]})
    alpha = config.models["alpha"].model_copy(update={"inference_service": "blue-alpha"})
    named = config.model_copy(update={"models": {"alpha": alpha}})
    assert (await seen(named))["alpha"].status is Status.READY


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((403, {"kind": "Status", "reason": "Forbidden"}), "Status403"),
        ((404, {"kind": "Status", "reason": "NotFound"}), "Status404"),
        ((302, {}), "Status302"),
        ((500, b"oops"), "Status500"),
        ((200, b'{"items": [{"metadata"'), "Malformed"),
        ((200, b"\xff\xfe"), "Malformed"),
        ((200, b""), "Malformed"),
        ((200, []), "Malformed"),
        ((200, {"items": None}), "Malformed"),
        ((200, {"items": [{"metadata": {"name": "alpha"}, "spec": 7}]}), "Malformed"),
    ],
)
@pytest.mark.parametrize("which", ["services", "deployments"])
async def test_an_answer_that_is_none_leaves_it_unknown(
    api: ApiServer, config: Config, which: str, answer: Answer, reason: str
) -> None:
    setattr(api, which, answer)
    assert await seen(config) == dict.fromkeys(("alpha", "beta_two"), Observed(Status.UNKNOWN, reason))


async def test_too_long_a_list_is_not_read(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes, "MAX_BYTES", 100)
    assert (await seen(config))["alpha"] == Observed(Status.UNKNOWN, "Malformed")


async def test_an_api_that_says_nothing_is_waited_for_shortly(
    api: ApiServer, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes, "ASK_SECONDS", 0.05)
    api.silent = True
    assert (await seen(config))["alpha"] == Observed(Status.UNKNOWN, "Timeout")


async def test_without_a_token_nobody_is_asked(api: ApiServer, config: Config, tmp_path: Path) -> None:
    (tmp_path / "token").unlink()
    assert (await seen(config))["alpha"] == Observed(Status.UNKNOWN, "Unreachable")
    assert api.asked == []


async def test_an_api_that_is_not_there(tmp_path: Path) -> None:
    server = ApiServer()
    with server.serving():
        pass
    assert (await seen(asking(server, tmp_path)))["alpha"] == Observed(Status.UNKNOWN, "Unreachable")


async def test_a_crowd_asks_once(api: ApiServer, config: Config) -> None:
    state = KubernetesState(config)
    answers = await asyncio.gather(*(state.models() for _ in range(50)))
    assert len(api.asked) == 2
    assert all(answer["alpha"].status is Status.READY for answer in answers)


async def test_a_renewed_token_is_used(
    api: ApiServer, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes, "FRESH_SECONDS", 0.0)
    state = KubernetesState(config)
    assert (await state.models())["alpha"].status is Status.READY
    api.token = "token-2"
    assert (await state.models())["alpha"] == Observed(Status.UNKNOWN, "Status401")
    (tmp_path / "token").write_text("token-2")
    assert (await state.models())["alpha"].status is Status.READY


async def test_the_token_goes_to_the_authority_s_server_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes, "FRESH_SECONDS", 0.0)
    server, context = ApiServer(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*write_certificate(tmp_path))
    with server.serving(context):
        state = KubernetesState(asking(server, tmp_path))
        assert (await state.models())["alpha"].status is Status.READY
        asked = len(server.asked)
        write_certificate(tmp_path, serial=2)  # another authority
        assert (await state.models())["alpha"] == Observed(Status.UNKNOWN, "Unreachable")
        assert len(server.asked) == asked


# --- in the catalogue -----------------------------------------------------------------------------


async def models(config: Config) -> dict[str, dict[str, Any]]:
    """What /models says to a caller who may use all of them, of predictors that are ready."""
    app = create_app(config, httpx.MockTransport(lambda _: httpx.Response(200)))
    caller = {
        "x-quintet-issuer": "https://local.test",
        "x-quintet-scope": "infer:*",
        "x-quintet-audience": "quintet",
    }
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://portal") as client,
    ):
        answer = (await client.get("/models", headers=caller)).raise_for_status()
    assert "secret" not in answer.text
    return {entry["name"]: entry for entry in answer.json()["models"]}


def cluster_fields(entry: dict[str, Any]) -> dict[str, Any]:
    names = ("ready", "status", "reason", "replicas", "node_kind", "node_selector")
    return {name: entry[name] for name in names}


async def test_the_catalogue_shows_it(config: Config) -> None:
    alpha = config.models["alpha"].model_copy(update={"node_kind": "t4"})
    found = await models(config.model_copy(update={"models": {**config.models, "alpha": alpha}}))
    assert cluster_fields(found["alpha"]) == {
        "ready": True,
        "status": "ready",
        "reason": None,
        "replicas": {"ready": 2, "wanted": 2},
        "node_kind": "t4",
        "node_selector": {"gpu": "t4"},
    }
    assert found["beta_two"]["status"] == "not_ready"


@pytest.mark.parametrize("reason", ["Status403", None])
async def test_where_the_cluster_does_not_say_the_catalogue_says_what_it_knows(
    api: ApiServer, config: Config, reason: str | None
) -> None:
    api.services = (403, {})
    found = await models(config if reason else Config.model_validate(SOUND))
    assert cluster_fields(found["alpha"]) == {
        "ready": True,
        "status": "unknown",
        "reason": reason,
        "replicas": None,
        "node_kind": None,
        "node_selector": None,
    }


def test_its_files_are_found_beside_the_config(
    raw: dict[str, Any], write: Callable[[dict[str, Any]], Path], tmp_path: Path
) -> None:
    asked = {"namespace": "models", "selector": "a=b", "token_file": "sa/token"}
    loaded = load(write(raw | {"portal": {"kubernetes": asked}})).config.portal.kubernetes
    assert loaded is not None
    assert loaded.token_file == tmp_path / "sa" / "token", "and need not be there: the rest goes on without"
    assert loaded.ca_file == Path("/var/run/secrets/kubernetes.io/serviceaccount/ca.crt")
