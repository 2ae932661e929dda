"""The empty model as the KServe SDK's documentation shows it, one worker, its log lines at WARNING."""

from __future__ import annotations

import sys

from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer


class Empty(Model):
    def load(self) -> bool:
        self.ready = True
        return True

    async def predict(self, payload: InferRequest, *_: object, **__: object) -> InferResponse:  # type: ignore[override]
        data = payload.inputs[0].data
        output = InferOutput("text", payload.inputs[0].shape, "BYTES", data)
        return InferResponse(payload.id or "1", self.name, [output])


if __name__ == "__main__":
    model = Empty("empty")
    model.load()
    ModelServer(http_port=int(sys.argv[2]), enable_grpc=False).start([model])
