"""From the heads' logits to what callers read: pure functions, one module a task."""
