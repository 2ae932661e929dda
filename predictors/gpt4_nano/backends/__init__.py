"""What runs inside Triton's Python backend: tensors to rows, and what answers them.

Nothing here imports the runtime or the transformer: Triton's own image holds neither.
"""
