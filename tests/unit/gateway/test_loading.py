"""Every mistake of a config is said, at once, with where it stands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config import Timeouts
from gateway.errors import ConfigError
from gateway.loading import known_scopes, load
from predictors.runtime.settings import RuntimeSettings
from tests.support.certificates import write_certificate

Write = Callable[[dict[str, Any]], Path]


def put(config: dict[str, Any], path: str, value: Any) -> None:
    """``issuers.0.keys.refresh`` = value; ``...`` takes the key away."""
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    here: Any = config
    for part in parents:
        here = here[part] if isinstance(part, int) or part in here else here.setdefault(part, {})
    if value is ...:
        del here[last]
    else:
        here[last] = value


def mistakes(file: Path) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load(file)
    assert raised.value.exit_code == 2
    return [str(problem) for problem in raised.value.problems]


ONE_MISTAKE = [
    ("isuers", [], "isuers: unknown key; did you mean issuers?"),
    ("listen.prot", 1, "listen.prot: unknown key; did you mean port?"),
    ("models.alpha.upstream.http", 1, "models.alpha.upstream.http: unknown key; did you mean http_port?"),
    ("models.alpha.routes.0.scopes", "x", "models.alpha.routes[0].scopes: unknown key; did you mean scope?"),
    (
        "issuers.0.keys.zzz",
        1,
        "issuers[0].keys.zzz: unknown key; known are secret_files, secret_env, jwks_file, jwks_url",
    ),
    ("admin.address", "0.0.0.0", "admin.address: unknown key; known are port"),
    ("issuers", ..., "issuers: is required"),
    ("issuers", [], "issuers: List should have at least 1 item"),
    ("models", {}, "models: Dictionary should have at least 1 item"),
    ("models.Alpha", {"upstream": {"host": "a"}}, "models.Alpha: 'Alpha' does not match"),
    ("models.alpha.upstream.host", "a b", "models.alpha.upstream.host: 'a b' does not match"),
    ("models.alpha.upstream.http_port", 70000, "models.alpha.upstream.http_port: Input should be less than"),
    ("models.alpha.timeouts.unary", "30 sec", "models.alpha.timeouts.unary: a duration is"),
    ("models.alpha.timeouts.unary", 0, "models.alpha.timeouts.unary: Input should be greater than"),
    # To Envoy that is 0, and 0 is without end.
    ("models.alpha.timeouts.unary", "0.1ms", "models.alpha.timeouts.unary: Input should be greater than"),
    ("models.alpha.max_requests", 1 << 40, "models.alpha.max_requests: Input should be less than"),
    ("limits.max_connections", 1 << 40, "limits.max_connections: Input should be less than"),
    ("limits.per_caller.rate", "9999999999/s", "limits.per_caller.rate: a rate is text such as"),
    ("models.alpha.timeouts.unary", True, "models.alpha.timeouts.unary: a duration is"),
    ("listen.address", "localhost", "listen.address: 'localhost' does not appear to be an IPv4 or IPv6"),
    ("listen.port", 9901, "admin.port: 9901 is already listen's"),
    ("portal.port", 8080, "portal.port: 8080 is already listen's"),
    # issuers
    ("issuers.0.audiences", [], "issuers[0].audiences: List should have at least 1 item"),
    ("issuers.0.audiences", ["m", "https://m/"], "issuers[0].audiences: 'https://m/' and 'm' are the same"),
    ("issuers.0.issuer", "", "issuers[0].issuer: String should have at least 1 character"),
    ("issuers.0.issuer", "a\nb", "issuers[0].issuer: must not hold control characters"),
    ("issuers.0.algorithms", ["none"], "issuers[0].algorithms[0]: Input should be 'HS256'"),
    ("issuers.0.algorithms", ["RS256"], "issuers[0]: algorithms: RS256 cannot be used with shared secrets"),
    ("issuers.0.keys", {}, "issuers[0].keys: give exactly one of secret_files (or secret_env), jwks_file"),
    (
        "issuers.0.keys.jwks_url",
        "https://a.test/jwks",
        "issuers[0].keys: give exactly one of secret_files (or secret_env), jwks_file, jwks_url (found secr",
    ),
    ("issuers.0.keys", {"jwks_url": "http://idp.test/jwks"}, "issuers[0].keys: jwks_url must be https"),
    ("issuers.0.keys", {"jwks_url": "ftp://idp.test"}, "issuers[0].keys: jwks_url must be an http(s)"),
    (
        "issuers.0.keys",
        {"jwks_url": "https://a.test:99999/k"},
        "issuers[0].keys: jwks_url must be an http(s)",
    ),
    ("issuers.0.keys", {"jwks_url": "https://a.test:x/k"}, "issuers[0].keys: jwks_url must be an http(s)"),
    ("issuers.0.keys", {"jwks_url": "https://a.test/a b"}, "issuers[0].keys: jwks_url must be an http(s)"),
    ("issuers.0.keys", {"jwks_url": "https://a_b.test/k"}, "issuers[0].keys: jwks_url must be an http(s)"),
    ("issuers.0.keys", {"jwks_url": "https://:p@a.test/k"}, "issuers[0].keys: jwks_url must be an http(s)"),
    (
        "issuers.0.keys",
        {"jwks_url": "https://a.test/k", "ca_file": "no.crt"},
        "issuers[0].keys.ca_file: there is no file",
    ),
    (
        "issuers.0.keys",
        {"jwks_url": "https://a.test/k", "ca_file": "secret"},
        "issuers[0].keys.ca_file: ",
    ),
    ("issuers.0.keys.refresh", "5s", "issuers[0].keys: refresh is nothing without jwks_url"),
    ("issuers.0.keys.ca_file", "ca.crt", "issuers[0].keys: ca_file is nothing without jwks_url"),
    (
        "portal.kubernetes",
        {"namespace": "a", "selector": "b=c", "api": "http://10.0.0.1"},
        "portal.kubernetes: api must be https unless on loopback: it is sent a token",
    ),
    (
        "portal.kubernetes",
        {"namespace": "a", "selector": "b=c", "api": "https://u@k/x"},
        "portal.kubernetes: api must be scheme://host[:port]",
    ),
    ("portal.kubernetes", {"selector": "b=c"}, "portal.kubernetes.namespace: is required"),
    ("portal.kubernetes.token", "x", "portal.kubernetes.token: unknown key; did you mean token_file?"),
    ("issuers.0.clock_skew", "200ms", "issuers[0].clock_skew: Input should be greater than or equal to 1"),
    ("issuers.0.keys.secret_files", ["nowhere"], "issuers[0].keys.secret_files[0]: there is no file"),
    ("issuers.0.keys.secret_files", ["secret", "secret"], "issuers[0].keys.secret_files: the same secret"),
    (
        "issuers.0.keys.secret_env",
        ["NOWHERE"],
        "issuers[0].keys.secret_env[0]: there is no environment variable",
    ),
    ("issuers.0.keys.secret_env", ["A-B"], "issuers[0].keys.secret_env[0]: 'A-B' does not match"),
    ("issuers.0.token_types", [], "issuers[0].token_types: List should have at least 1 item"),
    # the whole
    ("monitoring", {}, "monitoring.port: is required"),
    ("monitoring", {"port": 8080}, "monitoring.port: 8080 is already listen's"),
    ("drain.delay", "-1s", "drain.delay: a duration is"),
    ("drain.grace", -1, "drain.grace: Input should be greater than or equal to 0"),
    ("cors", {}, "cors.origins: is required"),
    ("cors.origins", ["*"], "cors.origins[0]: an origin is scheme://host[:port]"),
    ("cors.origins", ["https://a.test/"], "cors.origins[0]: an origin is scheme://host[:port]"),
    ("cors.origins", ["https://A.test"], "cors.origins[0]: an origin is in lower case"),
    ("cors.origins", ["https://a.test:99999"], "cors.origins[0]: an origin is scheme://host[:port]"),
    ("cors.origins", ["http://a.test"], "cors.origins[0]: an origin must be https unless on loopback"),
    ("listen.tls", {"cert_file": "no.crt"}, "listen.tls.key_file: is required"),
    ("listen.tls", {"cert_file": "c", "key_file": "k"}, "listen.tls.cert_file: there is no file"),
    ("limits.per_caller.rate", "10", "limits.per_caller.rate: a rate is text such as"),
    ("limits.per_caller.rate", "0/s", "limits.per_caller.rate: a rate is text such as"),
    ("limits.per_caller.burst", 5, "limits.per_caller: burst is nothing without rate"),
    ("limits.per_caller.sterams", 5, "limits.per_caller.sterams: unknown key; did you mean streams?"),
    # models and routes
    ("models.alpha.audiences", [], "models.alpha.audiences: List should have at least 1 item"),
    ("models.alpha.audiences", ["quintet/"], "models.alpha.audiences: 'quintet/' and 'quintet' are the same"),
    ("models.alpha.max_body_bytes", 1, "models.alpha.max_body_bytes: Input should be greater than"),
    (
        "models.alpha.per_caller",
        {"streams": 1},
        "models.alpha.per_caller.streams: this model has no route of",
    ),
    (
        "models.alpha.kubernetes_name",
        "beta-two",
        "models.beta_two.kubernetes_name: beta-two is already alpha's",
    ),
    ("models.alpha.kubernetes_name", "v2", "models.alpha.kubernetes_name: v2 is the gateway's own path"),
    ("models.alpha.routes.0.path", "classify", "models.alpha.routes[0].path: 'classify' does not match"),
    ("models.alpha.routes.0.path", "/a/../b", "models.alpha.routes[0]: path must not hold dot segments"),
    ("models.alpha.routes.0.path", "/v2/x", "models.alpha.routes[0].path: /v2/x is in the space of"),
    (
        "models.alpha.routes.0.path",
        "/v2/models/beta_two/generate",
        "models.alpha.routes[0].path: /v2/models/beta_two/generate is in the space of",
    ),
    ("models.alpha.routes.0.path", "/metrics", "models.alpha.routes[0].path: /metrics is in the space of"),
    (
        "models.alpha.routes.0.path",
        "/beta-two/x",
        "models.alpha.routes[0].path: /beta-two/x is in the space of",
    ),
    ("models.alpha.routes.0.path", "/{all}", "models.alpha.routes[0].path: /{all} is in the space of"),
    (
        "models.beta_two.routes",
        [{"path": "/classify"}],
        "models.beta_two.routes[0].path: POST /classify is already models.alpha.routes[0]",
    ),
    (
        "models.alpha.routes.0.scope",
        "bench:alhpa",
        "models.alpha.routes[0].scope: bench:alhpa is not a scope of this model; did you mean bench:alpha?",
    ),
    ("models.alpha.routes.0.kind", "fast", "models.alpha.routes[0].kind: Input should be 'unary', 'job'"),
    ("models.alpha.routes.0.methods", ["FETCH"], "models.alpha.routes[0].methods[0]: Input should be 'GET'"),
]


@pytest.mark.parametrize(("path", "value", "says"), ONE_MISTAKE)
def test_one_mistake(raw: dict[str, Any], write: Write, path: str, value: Any, says: str) -> None:
    put(raw, path, value)
    found = mistakes(write(raw))
    assert [m for m in found if m.startswith(says)], found


def test_every_mistake_is_said_at_once(raw: dict[str, Any], write: Write) -> None:
    """Those of the shape, those between sections and those in other files."""
    put(raw, "listen.prot", 1)
    put(raw, "limits.max_body_bytes", "many")
    put(raw, "issuers.0.keys.secret_files", ["nowhere"])
    put(raw, "models.beta_two.routes", [{"path": "/classify"}])
    put(raw, "models.alpha.timeouts.unary", "x")  # alpha is unsound, and beta_two is checked all the same
    put(raw, "models.gamma", {"upstream": {"host": "g"}, "routes": [{"path": "/classify"}]})
    found = mistakes(write(raw))
    assert [m.split(":")[0] for m in found] == [
        "listen.prot",
        "models.alpha.timeouts.unary",
        "limits.max_body_bytes",
        "issuers[0].keys.secret_files[0]",
        "models.gamma.routes[0].path",
    ]


def test_the_message_names_the_file_and_counts(raw: dict[str, Any], write: Write) -> None:
    put(raw, "x", 1)
    put(raw, "y", 1)
    file = write(raw)
    with pytest.raises(ConfigError) as raised:
        load(file)
    assert str(raised.value).splitlines()[0] == f"{file}: 2 mistakes"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "must be a map with issuers and models"),
        ("[1, 2]", "must be a map with issuers and models"),
        ("issuers: [", "line 1, column 11: "),
        ("models: {}\nissuers: []\nmodels: {}\n", "line 3, column 1: the key 'models' stands here twice"),
        (
            "models: !!python/object/apply:os.system [id]",
            "line 1, column 9: could not determine a constructor",
        ),
        ("a: &a [*a]", "a: unknown key"),
        ("? [1]\n: 2\n", ""),
    ],
)
def test_a_file_that_is_no_config(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(text)
    assert any(m.startswith(says) for m in mistakes(file))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert mistakes(tmp_path / "none.yaml") == ["there is no such file"]
    assert mistakes(tmp_path)[0].startswith("cannot be read")
    (tmp_path / "latin").write_bytes(b"\xff\xfe\x00")
    assert mistakes(tmp_path / "latin") == ["is not UTF-8 text"]


def test_a_sound_config_has_its_defaults(raw: dict[str, Any], write: Write) -> None:
    loaded = load(write(raw))
    assert loaded.config.kubernetes_name("beta_two") == "beta-two"
    assert loaded.config.listen.port == 8080
    assert loaded.config.issuers[0].allowed_algorithms == ("HS256",)
    assert [key["alg"] for key in loaded.jwks["local"]["keys"]] == ["HS256"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("30s", 30), ("1.5m", 90), ("24h", 86400), (7, 7), ("2d", 172800)]
)
def test_durations(raw: dict[str, Any], write: Write, text: Any, seconds: float) -> None:
    put(raw, "models.alpha.timeouts.unary", text)
    assert load(write(raw)).config.models["alpha"].timeouts.unary == seconds


def test_a_model_that_is_late_says_so_itself() -> None:
    """In its own words, and at the end of a stream as an event: the gateway's time is over a little later."""
    assert Timeouts().unary >= RuntimeSettings.model_fields["request_timeout"].default + 2


def test_paths_are_relative_to_the_config(
    raw: dict[str, Any], write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(raw)
    monkeypatch.chdir("/")
    assert load(file).jwks["local"]


def test_paths_are_beside_the_name_it_is_given_by(raw: dict[str, Any], write: Write, tmp_path: Path) -> None:
    """Kubernetes mounts a ConfigMap's files as links into a folder that has nothing else."""
    file = write(raw)
    (tmp_path / "..data").mkdir()
    file.rename(tmp_path / "..data" / file.name)
    file.symlink_to(tmp_path / "..data" / file.name)
    assert load(file).base == tmp_path


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "keys.auth.svc", "keys.auth.svc.cluster.local"])
def test_plain_http_keys_from_inside_only(raw: dict[str, Any], write: Write, host: str) -> None:
    put(raw, "issuers.0.keys", {"jwks_url": f"http://{host}:8000/jwks.json"})
    assert load(write(raw)).jwks == {}


def test_a_file_of_authorities_is_relative_to_the_config(raw: dict[str, Any], write: Write) -> None:
    """Envoy reads it, and would look for it in the folder where it was started."""
    put(raw, "issuers.0.keys", {"jwks_url": "https://a.test/keys", "ca_file": "tls/tls.crt"})
    file = write(raw)
    write_certificate(file.parent / "tls")
    assert load(file).config.issuers[0].keys.ca_file == file.parent / "tls" / "tls.crt"


def test_yaml_may_say_a_thing_once_and_mean_it_twice(
    tmp_path: Path, raw: dict[str, Any], write: Write
) -> None:
    file = write(raw)
    text = "models:\n  a: {upstream: &u {host: h, grpc_port: null}}\n  b: {upstream: {<<: *u, host: i}}\n"
    del raw["models"]
    file.write_text(yaml.safe_dump(raw) + text)
    upstreams = [model.upstream for model in load(file).config.models.values()]
    assert [(upstream.host, upstream.grpc_port) for upstream in upstreams] == [("h", None), ("i", None)]


@pytest.mark.parametrize(
    ("own", "limits"),
    [
        (None, ((5, 1), 9, 3)),
        ({}, ((5, 1), 9, 3)),
        # A model that says one thing must not lose another that the owner has set for all.
        ({"streams": 1}, ((5, 1), 9, 1)),
        ({"rate": "2/s"}, ((2, 1), None, 3)),
        ({"rate": "2/s", "burst": 4}, ((2, 1), 4, 3)),
        ({"rate": None}, (None, None, 3)),
        ({"streams": None}, ((5, 1), 9, None)),
    ],
)
def test_a_models_limits_are_laid_over_those_for_all(
    raw: dict[str, Any], write: Write, own: dict[str, Any] | None, limits: tuple[Any, ...]
) -> None:
    put(raw, "limits.per_caller", {"rate": "5/s", "burst": 9, "streams": 3})
    put(raw, "models.alpha.routes", [{"path": "/follow", "methods": ["GET"], "kind": "stream"}])
    put(raw, "models.alpha.per_caller", own)
    found = load(write(raw)).config.per_caller("alpha")
    assert (found.rate, found.burst, found.streams) == limits


@pytest.mark.parametrize(
    ("second", "says"),
    [
        # Whoever holds it would sign for both.
        ({"issuer": "https://other.test"}, "issuers[1].keys: a secret of issuers[0]'s is here as well"),
        # What a token may be follows from who issued it: the laxer entry would open the stricter one.
        (
            {"keys": {"jwks_url": "https://a.test/keys"}, "token_types": ["at+jwt"]},
            "issuers[1].token_types: of https://local.test, as is issuers[0], so they must be the same",
        ),
    ],
)
def test_two_issuers_that_weaken_each_other(
    raw: dict[str, Any], write: Write, second: dict[str, Any], says: str
) -> None:
    raw["issuers"].append(raw["issuers"][0] | {"name": "second"} | second)
    assert mistakes(write(raw)) == [says]


def test_one_issuer_may_stand_there_twice(raw: dict[str, Any], write: Write) -> None:
    """As while it goes over from a shared secret to keys of its own."""
    raw["issuers"].append(raw["issuers"][0] | {"name": "second", "keys": {"jwks_url": "https://a.test/keys"}})
    assert len(load(write(raw)).config.issuers) == 2


def test_known_scopes(raw: dict[str, Any], write: Write) -> None:
    put(raw, "models.alpha.routes.0.scope", "bench:alpha")
    assert known_scopes(load(write(raw)).config) == [
        "infer:*",
        "bench:alpha",
        "infer:alpha",
        "infer:beta_two",
        "jobs:admin",
        "read:models",
    ]
