"""NVIDIA's prompt task and complexity classifier (DeBERTa-v3, eight heads) as a KServe predictor."""
