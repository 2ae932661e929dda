"""What REST callers get wrong, route by route: the status, the code and the field that is named."""

from __future__ import annotations

import json
import re
import struct
from typing import Any

import httpx
import jsonschema_rs
import pytest

from tests.support.transports import Target

V1 = "/v1/models/toy:predict"
V2 = "/v2/models/toy/infer"
JSON = {"content-type": "application/json"}


def tensor(**changes: Any) -> dict[str, Any]:
    return {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"], **changes}


def factor(**changes: Any) -> dict[str, Any]:
    return {"name": "factor", "datatype": "FP32", "shape": [1], "data": [1.0], **changes}


def v2(*inputs: Any, **more: Any) -> dict[str, Any]:
    return {"inputs": list(inputs), **more}


# case -> route, document, status, field
DOCUMENTS: dict[str, tuple[str, Any, int, str]] = {
    "v1: not an object": (V1, [1], 400, ""),
    "v1: no instances": (V1, {}, 400, "instances"),
    "v1: instances not a list": (V1, {"instances": {"text": "a"}}, 400, "instances"),
    "v1: a field of the wrong type": (V1, {"instances": ["a", {"text": 3}]}, 400, "instances[1].text"),
    "v1: an unknown field": (V1, {"instances": [{"text": "a", "txt": "b"}]}, 422, "instances[0].txt"),
    "v2: not an object": (V2, "a", 400, ""),
    "v2: no inputs": (V2, {}, 400, "inputs"),
    "v2: inputs not a list": (V2, {"inputs": tensor()}, 400, "inputs"),
    "v2: an input that is no object": (V2, v2("a"), 400, "inputs"),
    "v2: an input that lacks": (V2, v2(factor()), 400, "inputs"),
    "v2: an unknown input": (V2, v2(tensor(name="txt")), 400, "inputs[0].name"),
    "v2: an input without a name": (V2, v2(tensor(name=None)), 400, "inputs[0].name"),
    "v2: an input given twice": (V2, v2(tensor(), tensor()), 400, "inputs[1].name"),
    "v2: a wrong datatype": (V2, v2(tensor(datatype="FP32")), 400, "inputs[0].datatype"),
    "v2: an unknown datatype": (V2, v2(tensor(datatype="TEXT")), 400, "inputs[0].datatype"),
    "v2: shape and data differ": (V2, v2(tensor(shape=[2])), 400, "inputs[0].data"),
    "v2: a shape of the wrong rank": (V2, v2(tensor(shape=[1, 1, 1])), 400, "inputs[0].shape"),
    "v2: a shape that is not two columns": (V2, v2(tensor(shape=[1, 2])), 400, "inputs[0].shape"),
    "v2: a negative shape": (V2, v2(tensor(shape=[-1])), 400, "inputs[0].shape"),
    "v2: a shape of floats": (V2, v2(tensor(shape=[1.0])), 400, "inputs[0].shape"),
    "v2: a shape of booleans": (V2, v2(tensor(shape=[True])), 400, "inputs[0].shape"),
    "v2: no shape": (V2, v2(tensor(shape=None)), 400, "inputs[0].shape"),
    "v2: a shape beyond any memory": (V2, v2(tensor(shape=[2**62])), 422, "inputs[0]"),
    "v2: data that is no list": (V2, v2(tensor(data="a")), 400, "inputs[0].data"),
    "v2: no data": (V2, v2(tensor(data=None)), 400, "inputs[0].data"),
    "v2: an element of the wrong type": (V2, v2(tensor(data=[1])), 400, "inputs[0].data[0]"),
    "v2: ragged rows": (V2, v2(tensor(shape=[2], data=[["a"], "b"])), 400, "inputs[0].data"),
    "v2: rows nested without end": (V2, v2(tensor(data=[[[[[[[[[["a"]]]]]]]]]])), 400, "inputs[0].data"),
    "v2: text for a number": (V2, v2(tensor(), factor(data=["1"])), 400, "inputs[1].data[0]"),
    "v2: a boolean for a number": (V2, v2(tensor(), factor(data=[True])), 400, "inputs[1].data[0]"),
    "v2: a number beyond FP32": (V2, v2(tensor(), factor(data=[1e39])), 422, "inputs[1].data[0]"),
    "v2: inputs of different lengths": (V2, v2(tensor(), factor(shape=[2], data=[1, 2])), 400, "inputs"),
    "v2: an unknown output": (V2, v2(tensor(), outputs=[{"name": "lower"}]), 400, "outputs[0].name"),
    "v2: outputs not a list": (V2, v2(tensor(), outputs="upper"), 400, "outputs"),
    "v2: an id that is no string": (V2, v2(tensor(), id=7), 400, "id"),
    "v2: parameters that are no object": (V2, v2(tensor(), parameters=[1]), 400, "parameters"),
    "v2: binary size without data": (
        V2,
        v2(tensor(parameters={"binary_data_size": 5})),
        400,
        "inputs[0].parameters.binary_data_size",
    ),
}


@pytest.mark.parametrize("case", DOCUMENTS)
def test_a_wrong_document_is_refused_with_its_field(toy: Target, case: str) -> None:
    route, document, status, field = DOCUMENTS[case]
    response = toy.http.post(route, json=document)
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) == {"error", "code", "details"}
    assert field in [detail["field"] for detail in body["details"]] or not field


DEEP = b'{"instances": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
BODIES: dict[str, tuple[bytes, dict[str, str], int]] = {
    "empty": (b"", JSON, 400),
    "truncated": (b'{"instances": ["a"', JSON, 400),
    "NaN": (b'{"instances": [{"text": "a", "factor": NaN}]}', JSON, 400),
    "invalid UTF-8": (b'{"instances": ["\xff"]}', JSON, 400),
    "a lone surrogate": (rb'{"instances": ["\ud800"]}', JSON, 400),
    "nested deeply": (DEEP, JSON, 400),
    "3 MB": (b'{"instances": ["' + b"x" * 3_000_000 + b'"]}', JSON, 413),
    "not JSON by type": (b'{"instances": ["a"]}', {"content-type": "text/plain"}, 415),
}


@pytest.mark.parametrize("route", [V1, V2])
@pytest.mark.parametrize("case", BODIES)
def test_a_body_that_cannot_be_read_is_refused(toy: Target, route: str, case: str) -> None:
    content, headers, status = BODIES[case]
    response = toy.http.post(route, content=content, headers=headers)
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error", "code", "details"}


def test_a_body_beyond_the_limit_is_refused_when_it_comes_in_chunks(toy: Target) -> None:
    response = toy.http.post(V1, content=(b"x" * 100_000 for _ in range(30)), headers=JSON)
    assert response.status_code == 413


def _binary(head: dict[str, Any], data: bytes, length: str | None = None) -> tuple[bytes, dict[str, str]]:
    text = json.dumps(head).encode()
    headers = {
        "content-type": "application/octet-stream",
        "inference-header-content-length": length if length is not None else str(len(text)),
    }
    return text + data, headers


def _element(text: bytes) -> bytes:
    return struct.pack("<I", len(text)) + text


def _sized(data: bytes, **changes: Any) -> dict[str, Any]:
    entry = tensor(parameters={"binary_data_size": len(data)}, **changes)
    del entry["data"]
    return entry


NAN = struct.pack("<f", float("nan"))
BINARY: dict[str, tuple[tuple[bytes, dict[str, str]], int, str]] = {
    "an element cut short": (
        _binary(v2(_sized(_element(b"abc")[:-1])), _element(b"abc")[:-1]),
        400,
        "inputs[0].data",
    ),
    "a length cut short": (_binary(v2(_sized(b"\x01\0")), b"\x01\0"), 400, "inputs[0].data"),
    "fewer elements than rows": (
        _binary(v2(_sized(_element(b"a"), shape=[2])), _element(b"a")),
        400,
        "inputs[0].data",
    ),
    "not UTF-8": (_binary(v2(_sized(_element(b"\xff"))), _element(b"\xff")), 422, "inputs[0].data[0]"),
    "more size than data": (
        _binary(v2(tensor(parameters={"binary_data_size": 99})), _element(b"a")),
        400,
        "inputs[0].parameters.binary_data_size",
    ),
    "data of no input": (_binary(v2(tensor()), b"more"), 400, ""),
    "a JSON length beyond the body": (
        _binary(v2(tensor()), b"", length="99999"),
        400,
        "inference-header-content-length",
    ),
    "a JSON length that is no number": (
        _binary(v2(tensor()), b"", length="all"),
        400,
        "inference-header-content-length",
    ),
    "NaN": (
        _binary(v2(tensor(), factor(data=None, parameters={"binary_data_size": 4})), NAN),
        422,
        "inputs[1].data[0]",
    ),
    "half a float": (
        _binary(v2(tensor(), factor(data=None, parameters={"binary_data_size": 3})), NAN[:3]),
        400,
        "inputs[1].data",
    ),
}


@pytest.mark.parametrize("case", BINARY)
def test_wrong_binary_tensors_are_refused(toy: Target, case: str) -> None:
    (content, headers), status, field = BINARY[case]
    response = toy.http.post(V2, content=content, headers=headers)
    assert response.status_code == status, response.text
    assert field in [detail["field"] for detail in response.json()["details"]] or not field


def test_outputs_are_those_asked_for_each_in_its_own_form(toy: Target) -> None:
    wanted = [{"name": "score", "parameters": {"binary_data": True}}, {"name": "upper"}]
    response = toy.http.post(V2, json=v2(tensor(), outputs=wanted, id="mine"))
    length = int(response.headers["inference-header-content-length"])
    head = json.loads(response.content[:length])
    assert head["id"] == "mine"
    assert head["model_name"] == "toy"
    assert [output["name"] for output in head["outputs"]] == ["score", "upper"]
    assert head["outputs"][1]["data"] == ["A"]
    assert struct.unpack("<f", response.content[length:]) == (1.0,)


def test_an_output_asked_for_twice_does_not_multiply_the_answer(toy: Target) -> None:
    names = [{"name": "upper"}] * 1000
    response = toy.http.post(V2, json=v2(tensor(), outputs=names))
    assert response.status_code == 400
    assert response.json()["details"][0]["field"] == "outputs[1].name"


def test_headers_no_client_sends_are_refused(toy: Target) -> None:
    digits = toy.http.post(V2, content=b"{}", headers={"inference-header-content-length": "9" * 5000})
    assert digits.status_code == 400
    packed = toy.http.post(V1, content=b"\x1f\x8b", headers={**JSON, "content-encoding": "gzip"})
    assert packed.status_code == 415
    upgrade = toy.http.get("/v2/health/ready", headers={"connection": "upgrade", "upgrade": "websocket"})
    assert upgrade.status_code == 200


def test_there_are_no_redirects(toy: Target) -> None:
    assert toy.http.get("/health/").status_code == 404


ELSEWHERE: dict[str, tuple[str, str, int]] = {
    "no such path": ("GET", "/nope", 404),
    "another model, v1": ("POST", "/v1/models/other:predict", 404),
    "another model, v2": ("POST", "/v2/models/other/infer", 404),
    "another model's metadata": ("GET", "/v2/models/other", 404),
    "another model's readiness": ("GET", "/v2/models/other/ready", 404),
    "GET on predict": ("GET", V1, 405),
    "GET on infer": ("GET", V2, 405),
    "POST on health": ("POST", "/health", 405),
    "the repository extension": ("POST", "/v2/repository/models/toy/unload", 404),
}


@pytest.mark.parametrize("case", ELSEWHERE)
def test_what_is_not_served_is_said_in_the_same_shape(toy: Target, case: str) -> None:
    method, path, status = ELSEWHERE[case]
    response = toy.http.request(method, path)
    assert response.status_code == status
    assert set(response.json()) == {"error", "code", "details"}


def test_metadata_names_the_tensors(toy: Target) -> None:
    metadata = toy.http.get("/v2/models/toy").json()
    assert metadata["inputs"] == [
        {"name": "text", "datatype": "BYTES", "shape": [-1]},
        {"name": "factor", "datatype": "FP32", "shape": [-1]},
    ]
    assert toy.http.get("/v1/models/toy").json() == {"name": "toy", "ready": True}
    assert toy.http.get("/v2").json()["extensions"] == ["binary_tensor_data"]


def test_a_request_id_comes_back_when_it_is_harmless(toy: Target) -> None:
    def answered(given: str | None) -> str:
        headers = {} if given is None else {"x-request-id": given}
        response = toy.http.post(V1, json={"instances": ["a"]}, headers=headers)
        return response.headers["x-request-id"]

    assert answered("abc-123") == "abc-123"
    assert answered('"; rm') not in ('"; rm', "")
    assert answered(None)
    assert len(answered("x" * 500)) < 100


def test_what_is_in_a_request_is_never_logged_whatever_becomes_of_it(toy: Target, toy_server: Any) -> None:
    secret = "a-very-private-prompt"
    headers = {"x-request-id": "find-this-line"}
    toy.http.post(V1, content=f'{{"instances": ["{secret}"'.encode(), headers=JSON)  # 400
    toy.http.post(V1, json={"instances": [{secret: secret}]})  # 422
    toy.http.post(V1, json={"instances": [secret, "!bad", "!boom"]})  # the engine raises
    toy.http.get(f"/{secret}", headers={"x-request-id": f"{secret} !"})  # 404
    toy.http.post(V1, json={"instances": [secret]}, headers=headers)
    line = next(
        line
        for line in iter(lambda: toy_server.wait_for("request"), None)
        if line["request_id"] == "find-this-line"
    )
    assert line["route"] == "/v1/models/{model}:predict"
    assert line["code"] == 200
    assert line["seconds"] >= line["infer_seconds"] >= 0
    assert line["queue_seconds"] >= 0
    assert line["request_bytes"] > 0
    assert secret not in json.dumps([line for line in toy_server.lines if line["level"] != "ERROR"])


def test_connection_survives_a_refused_body(toy: Target) -> None:
    with httpx.Client(base_url=toy.http.base_url) as client:
        assert client.post(V1, content=b"{", headers=JSON).status_code == 400
        assert client.post(V1, json={"instances": ["a"]}).status_code == 200


@pytest.mark.parametrize("path", ["/health", "/v2/health/ready", "/v2/models/toy", "/docs"])
def test_head_answers_as_get_does_without_a_body(toy: Target, path: str) -> None:
    got, head = toy.http.get(path), toy.http.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(got.content))


def test_the_page_of_docs_loads_nothing_but_the_document_beside_it(toy: Target) -> None:
    page = toy.http.get("/docs").text
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=", page)
    assert 'url: "openapi.json"' in page


def test_v1_and_v2_are_in_the_document(toy: Target) -> None:
    paths = toy.http.get("/openapi.json").json()["paths"]
    for path in ("/v1/models/toy:predict", "/v2/models/toy/infer"):
        operation = paths[path]["post"]
        example = operation["requestBody"]["content"]["application/json"]["example"]
        answer = toy.http.post(path, json=example)
        assert answer.status_code == 200, answer.text
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        jsonschema_rs.validate(schema, answer.json())
        assert {"400", "422", "429", "503", "504"} <= operation["responses"].keys()
