"""GPT-2 from .pth checkpoints, quantised to 8 bits, as a KServe predictor that generates token by token."""
