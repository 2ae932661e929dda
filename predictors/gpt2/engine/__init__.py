"""The engine: one artifact in ONNX Runtime (session), who sits in which slot of its cache (batch), which token
comes next (sampling), and all loaded models driven a step at a time (decoder)."""
