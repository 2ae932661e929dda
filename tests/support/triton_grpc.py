"""tritonclient over gRPC, in a process of its own: its messages have the names of the SDK's.

``python tests/support/triton_grpc.py ADDRESS``: one JSON object of what it was told.
"""

import json
import queue
import sys
from typing import Any

import numpy as np
import tritonclient.grpc as triton


def tensor(name: str, rows: list, dtype: str) -> triton.InferInput:
    made = triton.InferInput(name, [len(rows), 1], dtype)
    kinds = {"BYTES": np.object_, "INT32": np.int32, "FP32": np.float32}
    made.set_data_from_numpy(np.array(rows, dtype=kinds[dtype]).reshape(-1, 1))
    return made


def main(address: str) -> None:
    with triton.InferenceServerClient(address) as client:
        rows: Any = client.infer("gpt4_nano", [tensor("prompt", [b"python", b"triton"], "BYTES")])
        try:
            bad = [tensor("prompt", [b"x"], "BYTES"), tensor("temperature", [float("nan")], "FP32")]
            refused = str(client.infer("gpt4_nano", bad))
        except triton.InferenceServerException as error:
            refused = str(error)
        told: queue.Queue = queue.Queue()
        client.start_stream(lambda result, error: told.put((result, error)))
        client.async_stream_infer("gpt4_nano_stream", [tensor("prompt", [b"triton"], "BYTES")])
        pieces = []
        while not pieces or not pieces[-1][1]:
            result, error = told.get(timeout=30)
            assert error is None, error
            pieces.append([result.as_numpy(name)[0, 0].decode() for name in ("response", "finish_reason")])
        client.stop_stream()
        print(  # noqa: T201
            json.dumps(
                {
                    "shape": list(rows.as_numpy("response").shape),
                    "responses": [row[0].decode() for row in rows.as_numpy("response")],
                    "refused": refused,
                    "streamed": "".join(piece[0] for piece in pieces),
                    "pieces": len(pieces),
                }
            )
        )


if __name__ == "__main__":
    main(sys.argv[1])
