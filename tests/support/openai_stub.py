"""An OpenAI-compatible chat endpoint for tests: the real wire format, with every fault on demand.

What a prompt says decides what happens to it: ``[429]``, ``[500]`` (each twice, then an answer), ``[broken]``
(the stream ends half-way, twice), ``[garbage]``, ``[odd]`` (JSON of another shape), ``[refuse]``, ``[long]``
(context exceeded), ``[quota]``, ``[patience]`` (Retry-After of an hour), ``[slow]`` (waits until it is let
go).
"""

from __future__ import annotations

import collections
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-test"


class Stub:
    def __init__(self) -> None:
        self.url = ""
        self.seen: list[dict[str, Any]] = []
        self.tries: collections.Counter[str] = collections.Counter()
        self.connections: set[Any] = set()
        self.flagged: set[str] = set()
        self.let_go = threading.Event()
        self.together = 0
        """Most requests that were under way at a time."""
        self.under_way = 0
        self.lock = threading.Lock()


@contextmanager
def running() -> Iterator[Stub]:
    stub = Stub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

        def do_POST(self) -> None:
            with stub.lock:
                stub.connections.add(self.client_address)
                stub.under_way += 1
                stub.together = max(stub.together, stub.under_way)
            try:
                with suppress(BrokenPipeError):  # the caller has gone
                    self._answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            finally:
                with stub.lock:
                    stub.under_way -= 1

        def _answer(self, body: dict[str, Any]) -> None:
            if self.headers["authorization"] != f"Bearer {KEY}":
                return self._error(401, "invalid_api_key", "Incorrect API key provided.")
            if self.path == "/v1/moderations":
                return self._json(200, {"results": [{"flagged": body["input"] in stub.flagged}]})
            prompt = body["messages"][0]["content"]
            with stub.lock:
                stub.seen.append(body)
                stub.tries[prompt] += 1
                tries = stub.tries[prompt]
            if "[429]" in prompt and tries <= 2:
                return self._error(429, "rate_limit_exceeded", "Slow down.", {"retry-after": "0.01"})
            if "[patience]" in prompt:
                return self._error(429, "rate_limit_exceeded", "Slow down.", {"retry-after": "3600"})
            if "[500]" in prompt and tries <= 2:
                return self._error(500, "server_error", "Sorry.", {"retry-after-ms": "5"})
            if "[quota]" in prompt:
                return self._error(429, "insufficient_quota", "Check your plan.")
            if "[long]" in prompt:
                return self._error(400, "context_length_exceeded", "Too many tokens.")
            if "[slow]" in prompt:
                stub.let_go.wait(30)
            self._stream(prompt, tries, body)
            return None

        def _stream(self, prompt: str, tries: int, body: dict[str, Any]) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            if "[garbage]" in prompt:
                self._event("{not json")
                return self._end()
            if "[odd]" in prompt:
                self._event('{"choices": ["You said"]}')
                return self._end()
            self._chunk(body, {"role": "assistant", "content": ""})
            if "[refuse]" in prompt:
                self._chunk(body, {"refusal": "I can't help with that."})
            elif "[broken]" in prompt and tries <= 2:
                self.close_connection = True
                return None  # no finish_reason, no last chunk
            else:
                for word in ("You", " said: ", prompt):
                    self._chunk(body, {"content": word})
            self._chunk(body, {}, "stop")
            usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
            self._event(_json({"model": "gpt-4.1-nano-2025-04-14", "choices": [], "usage": usage}))
            self._event("[DONE]")
            return self._end()

        def _chunk(self, body: dict[str, Any], delta: dict[str, Any], reason: str | None = None) -> None:
            choice = {"index": 0, "delta": delta, "finish_reason": reason}
            chunk = {
                "id": "chatcmpl-1",
                "object": "chat.completion.chunk",
                "model": "gpt-4.1-nano-2025-04-14",
                "choices": [choice],
                "usage": None,
            }
            self._event(_json(chunk))

        def _event(self, data: str) -> None:
            line = f"data: {data}\n\n".encode()
            self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
            self.wfile.flush()

        def _end(self) -> None:
            self.wfile.write(b"0\r\n\r\n")

        def _error(self, status: int, code: str, text: str, headers: dict[str, str] | None = None) -> None:
            error = {"message": text, "type": code, "param": None, "code": code}
            self._json(status, {"error": error}, headers)

        def _json(self, status: int, document: Any, headers: dict[str, str] | None = None) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            for name, value in {"content-type": "application/json", **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    stub.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield stub
    finally:
        stub.let_go.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _json(document: Any) -> str:
    """Characters as they are, not escaped: so do providers that speak this format."""
    return json.dumps(document, ensure_ascii=False)
